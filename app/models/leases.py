"""leases: the queue. One narrow row beside each seed; app/queue/states.py says who moves it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKeyConstraint, Index, PrimaryKeyConstraint, SmallInteger, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigInt, DatasetKey, WorkspaceKey


class Lease(Base):
    """`tries` counts leases charged to the seed; `setbacks` failures in a row that were not its fault.

    `open_samples` holds the sample indices not yet resolved; NULL means all that the recipe asks for.
    """

    __tablename__ = "leases"
    __table_args__ = (
        # The funnel counts states from this index alone; a second one that begins with (workspace, dataset)
        # would be taken for look-ups by seed while the table has no statistics (docs/decisions/0003).
        PrimaryKeyConstraint("workspace_id", "dataset_id", "seed_id", postgresql_include=["state"]),
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id", "seed_id"],
            ["seeds.workspace_id", "seeds.dataset_id", "seeds.seed_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("state IN ('queued', 'leased', 'done', 'failed', 'cancelled')", name="state"),
        CheckConstraint(
            "(state = 'leased') = (lease_token IS NOT NULL) AND (state = 'leased') = (worker_id IS NOT NULL)",
            name="leased_has_token_and_worker",
        ),
        # The claim reads this index and nothing else of the table: oldest due first.
        Index(
            "ix_leases_claim",
            "workspace_id",
            "dataset_id",
            "not_before",
            "seed_id",
            postgresql_where="state = 'queued'",
        ),
        Index("ix_leases_worker", "worker_id", postgresql_where="state = 'leased'"),
        {
            "postgresql_with": {
                "fillfactor": "80",
                "autovacuum_vacuum_scale_factor": "0.02",
                "autovacuum_vacuum_insert_scale_factor": "0.05",
            }
        },
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    seed_id: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(server_default="queued")
    not_before: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lease_token: Mapped[UUID | None]
    worker_id: Mapped[UUID | None]
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    setbacks: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    open_samples: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))
    error_class: Mapped[str | None]
    error_text: Mapped[str | None]
