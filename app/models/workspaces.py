"""workspaces: the tenants. Workspace 1, `default`, is made by the first migration."""

from __future__ import annotations

from sqlalchemy import Integer
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Moment

DEFAULT_WORKSPACE = 1


class Workspace(Base):
    __tablename__ = "workspaces"

    workspace_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[Moment]
