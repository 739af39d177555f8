"""uploads: one row a POST of seeds, so that every seed says where it came from and a repeat is known."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKeyConstraint, Index, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, DatasetKey, Moment, OwnKey, WorkspaceKey


class Upload(Base):
    """`answer` is what the client was told; NULL while the body is still being read, or was cut off.

    `digest` is the SHA-256 of the body that was answered; until `busy_until` another POST may be reading.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id"], ["datasets.workspace_id", "datasets.dataset_id"], ondelete="CASCADE"
        ),
        Index(
            "uq_uploads_idempotency_key",
            "workspace_id",
            "dataset_id",
            "idempotency_key",
            unique=True,
            postgresql_where="idempotency_key IS NOT NULL",
        ),
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    upload_id: Mapped[OwnKey]
    idempotency_key: Mapped[str | None]
    status: Mapped[int | None]
    digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    busy_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[Moment]
