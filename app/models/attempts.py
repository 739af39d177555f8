"""attempts: one row a teacher call, whatever came of it, with the raw reply."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, LargeBinary, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigInt, DatasetKey, Moment, OwnKey, WorkspaceKey


class Attempt(Base):
    """A lease makes at most one attempt a sample, so (seed, token, sample) names an attempt.

    That key makes storing idempotent: a commit whose acknowledgement was lost can be tried again.
    `raw` is the body as the teacher sent it, cut at 1 MiB.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id", "seed_id"],
            ["seeds.workspace_id", "seeds.dataset_id", "seeds.seed_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("workspace_id", "dataset_id", "seed_id", "lease_token", "sample_index", name="uq_attempts_lease"),
        CheckConstraint("outcome IN ('ok', 'error')", name="outcome"),
        CheckConstraint("(outcome = 'error') = (error_class IS NOT NULL)", name="error_has_class"),
        # Compressing a raw reply of 2 KB costs more than all else of storing it (docs/decisions/0004).
        {"postgresql_with": {"toast_tuple_target": "4080"}},
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    attempt_id: Mapped[OwnKey]
    seed_id: Mapped[BigInt]
    lease_token: Mapped[UUID]
    sample_index: Mapped[int] = mapped_column(SmallInteger)
    recipe_revision: Mapped[int]
    teacher: Mapped[str]
    model: Mapped[str | None]
    outcome: Mapped[str]
    error_class: Mapped[str | None]
    error_text: Mapped[str | None]
    finish_reason: Mapped[str | None]
    reasoning_seen: Mapped[str | None]
    prompt_tokens: Mapped[int] = mapped_column(server_default="0")
    completion_tokens: Mapped[int] = mapped_column(server_default="0")
    latency_ms: Mapped[int]
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[Moment]
