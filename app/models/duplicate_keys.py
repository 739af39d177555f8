"""duplicate_keys: what accepted samples are looked up by when a new one may repeat them."""

from __future__ import annotations

from sqlalchemy import SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigInt, DatasetKey, WorkspaceKey


class DuplicateKey(Base):
    """`slot` tells the check, the field it compares and, for MinHash, the band (app/curation/duplicates.py).

    No foreign key: checking it would need a second index on seventeen rows a sample. A key whose sample is
    gone finds nothing; deleting a dataset deletes its keys by their leading columns.
    """

    __tablename__ = "duplicate_keys"
    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    key: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    sample_id: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
