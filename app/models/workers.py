"""workers: one heartbeat row a worker process. Not a tenant's: a worker serves every workspace."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Moment


class WorkerProcess(Base):
    """`loop_lag_s` is how long the event loop had been silent at the last beat."""

    __tablename__ = "workers"

    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    lease_s: Mapped[float]
    in_flight: Mapped[int] = mapped_column(server_default="0")
    loop_lag_s: Mapped[float] = mapped_column(server_default="0")
    started_at: Mapped[Moment]
    beat_at: Mapped[Moment]
