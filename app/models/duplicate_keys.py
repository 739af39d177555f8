"""duplicate_keys: what accepted samples are looked up by when a new one may repeat them."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigInt, DatasetKey, WorkspaceKey


class DuplicateKey(Base):
    """`slot` tells the check, the field it compares and, for MinHash, the band (app/curation/duplicates.py)."""

    __tablename__ = "duplicate_keys"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id", "sample_id"],
            ["samples.workspace_id", "samples.dataset_id", "samples.sample_id"],
            ondelete="CASCADE",
        ),
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    key: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    sample_id: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
