"""Datasets get a weight, a target and budgets; workers tell of their teachers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spending",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "dataset_id"],
            ["datasets.workspace_id", "datasets.dataset_id"],
            name=op.f("fk_spending_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", name=op.f("pk_spending")),
    )
    op.add_column("datasets", sa.Column("paused_because", sa.String(), nullable=True))
    op.add_column("datasets", sa.Column("weight", sa.Double(), server_default="1", nullable=False))
    op.add_column("datasets", sa.Column("target_accepted", sa.BigInteger(), nullable=True))
    op.add_column("datasets", sa.Column("budget_attempts", sa.BigInteger(), nullable=True))
    op.add_column("datasets", sa.Column("budget_tokens", sa.BigInteger(), nullable=True))
    op.add_column("datasets", sa.Column("budget_wall_s", sa.BigInteger(), nullable=True))
    op.add_column(
        "datasets", sa.Column("clock_from", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    )
    op.create_check_constraint(op.f("ck_datasets_paused_because"), "datasets", "paused_because IS NULL OR state = 'paused'")
    op.create_check_constraint(op.f("ck_datasets_weight"), "datasets", "weight > 0")
    op.add_column("workers", sa.Column("status", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False))


def downgrade() -> None:
    op.drop_constraint(op.f("ck_datasets_weight"), "datasets")
    op.drop_constraint(op.f("ck_datasets_paused_because"), "datasets")
    op.drop_column("workers", "status")
    op.drop_column("datasets", "clock_from")
    op.drop_column("datasets", "budget_wall_s")
    op.drop_column("datasets", "budget_tokens")
    op.drop_column("datasets", "budget_attempts")
    op.drop_column("datasets", "target_accepted")
    op.drop_column("datasets", "weight")
    op.drop_column("datasets", "paused_because")
    op.drop_table("spending")
