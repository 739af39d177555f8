"""samples: one parsed answer each, accepted or rejected with its reason. Rejects are kept whole."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, SmallInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigInt, DatasetKey, Moment, OwnKey, WorkspaceKey


class Sample(Base):
    """Accepted at most once a (dataset, seed, sample index); every rejected attempt keeps its own row.

    Rows up to half a page stay as they are: by default Postgres compresses from 2 KB on (docs/decisions/0004).
    """

    __tablename__ = "samples"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id", "seed_id"],
            ["seeds.workspace_id", "seeds.dataset_id", "seeds.seed_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("verdict IN ('accepted', 'rejected')", name="verdict"),
        CheckConstraint("(verdict = 'rejected') = (reason IS NOT NULL)", name="rejected_has_reason"),
        CheckConstraint("verdict = 'rejected' OR response <> ''", name="accepted_not_empty"),
        Index(
            "uq_samples_accepted",
            "workspace_id",
            "dataset_id",
            "seed_id",
            "sample_index",
            unique=True,
            postgresql_where="verdict = 'accepted'",
        ),
        # Every stored answer pays for each index that it is in: this one holds rejects only.
        Index(
            "ix_samples_rejected",
            "workspace_id",
            "dataset_id",
            "reason",
            "sample_id",
            postgresql_where="reason IS NOT NULL",
        ),
        # For the foreign key: deleting a seed looks for its samples, rejects included.
        Index("ix_samples_seed", "workspace_id", "dataset_id", "seed_id"),
        {"postgresql_with": {"toast_tuple_target": "4080"}},
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    sample_id: Mapped[OwnKey]
    seed_id: Mapped[BigInt]
    sample_index: Mapped[int] = mapped_column(SmallInteger)
    lease_token: Mapped[UUID]
    recipe_revision: Mapped[int]
    teacher: Mapped[str]
    verdict: Mapped[str]
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    reasoning: Mapped[str | None]
    response: Mapped[str]
    scores: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    created_at: Mapped[Moment]
