"""seeds: what the user sent, normalised to NFC; wide, written once, never changed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, LargeBinary, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigInt, DatasetKey, Moment, OwnKey, WorkspaceKey


class Seed(Base):
    """`content_hash` is what makes a seed a duplicate: 16 bytes over dataset, instruction and input.

    The dataset is in the hash and not in the unique key, so that no other index than the primary key begins with
    (workspace, dataset): while a table has no statistics the planner takes either for a look-up by seed, and foreign
    key checks were seen to walk the whole dataset for every row (docs/decisions/0003).
    """

    __tablename__ = "seeds"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "dataset_id"], ["datasets.workspace_id", "datasets.dataset_id"], ondelete="CASCADE"
        ),
        UniqueConstraint("workspace_id", "content_hash"),
        CheckConstraint("instruction <> ''", name="instruction_not_empty"),
        CheckConstraint("octet_length(content_hash) = 16", name="content_hash_length"),
    )

    workspace_id: Mapped[WorkspaceKey]
    dataset_id: Mapped[DatasetKey]
    seed_id: Mapped[OwnKey]
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    instruction: Mapped[str]
    input: Mapped[str] = mapped_column(server_default="")
    reference: Mapped[str | None]
    seed_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSONB)
    upload_id: Mapped[BigInt]
    upload_line: Mapped[BigInt]
    created_at: Mapped[Moment]
