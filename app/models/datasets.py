"""datasets: a named container of seeds and samples, with one recipe at a time."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Moment, OwnKey, WorkspaceKey


class Dataset(Base):
    """state: `running` <-> `paused` by the user; either -> `cancelled` by the user, for good.

    `idle` is not stored: it is a running dataset with nothing queued or leased.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.workspace_id"], ondelete="CASCADE"),
        UniqueConstraint("workspace_id", "name"),
        CheckConstraint("state IN ('running', 'paused', 'cancelled')", name="state"),
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[OwnKey]
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="running")
    recipe_revision: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Moment]
