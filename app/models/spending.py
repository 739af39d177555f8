"""spending: what a dataset with a target or a budget has used, counted in the transactions that store it."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.orm import Mapped

from app.models.base import Base, BigInt, DatasetKey, WorkspaceKey


class Spending(Base):
    """A row only for datasets with limits, made from their attempts and samples when the first limit is set.

    It is changed under the dataset's store lock together with what it counts, so it cannot drift; without it every
    look at a limit would count a million rows. `tokens` are prompt and completion tokens.
    """

    __tablename__ = "spending"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id"], ["datasets.workspace_id", "datasets.dataset_id"], ondelete="CASCADE"
        ),
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    attempts: Mapped[BigInt]
    tokens: Mapped[BigInt]
    accepted: Mapped[BigInt]
