"""What a stored answer costs: one index fewer, and no compression of rows that fit half a page."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_samples_rejected",
        "samples",
        ["workspace_id", "dataset_id", "reason", "sample_id"],
        unique=False,
        postgresql_where="reason IS NOT NULL",
    )
    op.drop_index("ix_samples_reason", table_name="samples")
    op.execute("ALTER TABLE samples SET (toast_tuple_target = 4080)")
    op.execute("ALTER TABLE attempts SET (toast_tuple_target = 4080)")


def downgrade() -> None:
    op.execute("ALTER TABLE attempts RESET (toast_tuple_target)")
    op.execute("ALTER TABLE samples RESET (toast_tuple_target)")
    op.create_index(
        "ix_samples_reason", "samples", ["workspace_id", "dataset_id", "verdict", "reason", "sample_id"], unique=False
    )
    op.drop_index("ix_samples_rejected", table_name="samples", postgresql_where="reason IS NOT NULL")
