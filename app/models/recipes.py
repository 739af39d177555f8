"""recipes: the revisions of each dataset's recipe. A revision never changes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, DatasetKey, Moment, WorkspaceKey


class RecipeRevision(Base):
    __tablename__ = "recipes"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id"], ["datasets.workspace_id", "datasets.dataset_id"], ondelete="CASCADE"
        ),
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    hash: Mapped[str]
    created_at: Mapped[Moment]
