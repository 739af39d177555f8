"""workers: one heartbeat row a worker process. Not a tenant's: a worker serves every workspace."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Moment


class WorkerProcess(Base):
    """`loop_lag_s` is how long the event loop had been silent at the last beat.

    `status` is what the worker tells of its teachers (level, why, replicas) and of what it has stored.
    """

    __tablename__ = "workers"

    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    lease_s: Mapped[float]
    in_flight: Mapped[int] = mapped_column(server_default="0")
    loop_lag_s: Mapped[float] = mapped_column(server_default="0")
    status: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    started_at: Mapped[Moment]
    beat_at: Mapped[Moment]
