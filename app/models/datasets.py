"""datasets: a named container of seeds and samples, with one recipe at a time."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Double, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigInt, Moment, OwnKey, WorkspaceKey


class Dataset(Base):
    """state: `running` <-> `paused` by the user; either -> `cancelled` by the user, for good.

    `idle` is not stored: it is a running dataset with nothing queued or leased. A dataset that reached its target or
    a budget pauses itself and says so in `paused_because`; NULL there means that the user paused it. `weight` is its
    share of a teacher among the datasets of its workspace. `clock_from` is what `budget_wall_s` counts from.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.workspace_id"], ondelete="CASCADE"),
        UniqueConstraint("workspace_id", "name"),
        CheckConstraint("state IN ('running', 'paused', 'cancelled')", name="state"),
        CheckConstraint("paused_because IS NULL OR state = 'paused'", name="paused_because"),
        CheckConstraint("weight > 0", name="weight"),
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[OwnKey]
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="running")
    paused_because: Mapped[str | None]
    recipe_revision: Mapped[int] = mapped_column(server_default="1")
    weight: Mapped[float] = mapped_column(Double, server_default="1")
    target_accepted: Mapped[BigInt | None]
    budget_attempts: Mapped[BigInt | None]
    budget_tokens: Mapped[BigInt | None]
    budget_wall_s: Mapped[BigInt | None]
    clock_from: Mapped[Moment]
    created_at: Mapped[Moment]
