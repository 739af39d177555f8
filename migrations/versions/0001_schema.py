"""The first schema: workspaces, datasets, recipes, uploads, seeds, leases, attempts, samples, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("lease_s", sa.Double(), nullable=False),
        sa.Column("in_flight", sa.Integer(), server_default="0", nullable=False),
        sa.Column("loop_lag_s", sa.Double(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_workers")),
    )
    op.create_table(
        "workspaces",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_workspaces")),
        sa.UniqueConstraint("name", name=op.f("uq_workspaces_name")),
    )
    op.create_table(
        "datasets",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), server_default="running", nullable=False),
        sa.Column("recipe_revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('running', 'paused', 'cancelled')", name=op.f("ck_datasets_state")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.workspace_id"], name=op.f("fk_datasets_workspaces"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_datasets_workspace_id_name")),
    )
    op.create_table(
        "recipes",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "dataset_id"],
            ["datasets.workspace_id", "datasets.dataset_id"],
            name=op.f("fk_recipes_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", "revision", name=op.f("pk_recipes")),
    )
    op.create_table(
        "seeds",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seed_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("instruction", sa.String(), nullable=False),
        sa.Column("input", sa.String(), server_default="", nullable=False),
        sa.Column("reference", sa.String(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("upload_id", sa.BigInteger(), nullable=False),
        sa.Column("upload_line", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("instruction <> ''", name=op.f("ck_seeds_instruction_not_empty")),
        sa.CheckConstraint("octet_length(content_hash) = 16", name=op.f("ck_seeds_content_hash_length")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "dataset_id"],
            ["datasets.workspace_id", "datasets.dataset_id"],
            name=op.f("fk_seeds_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", "seed_id", name=op.f("pk_seeds")),
        sa.UniqueConstraint("workspace_id", "content_hash", name=op.f("uq_seeds_workspace_id_content_hash")),
    )
    op.create_table(
        "uploads",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("upload_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("busy_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "dataset_id"],
            ["datasets.workspace_id", "datasets.dataset_id"],
            name=op.f("fk_uploads_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", "upload_id", name=op.f("pk_uploads")),
    )
    op.create_index(
        "uq_uploads_idempotency_key",
        "uploads",
        ["workspace_id", "dataset_id", "idempotency_key"],
        unique=True,
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.create_table(
        "attempts",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("seed_id", sa.BigInteger(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.Column("sample_index", sa.SmallInteger(), nullable=False),
        sa.Column("recipe_revision", sa.Integer(), nullable=False),
        sa.Column("teacher", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("error_class", sa.String(), nullable=True),
        sa.Column("error_text", sa.String(), nullable=True),
        sa.Column("finish_reason", sa.String(), nullable=True),
        sa.Column("reasoning_seen", sa.String(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("completion_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(outcome = 'error') = (error_class IS NOT NULL)", name=op.f("ck_attempts_error_has_class")),
        sa.CheckConstraint("outcome IN ('ok', 'error')", name=op.f("ck_attempts_outcome")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "dataset_id", "seed_id"],
            ["seeds.workspace_id", "seeds.dataset_id", "seeds.seed_id"],
            name=op.f("fk_attempts_seeds"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", "attempt_id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("workspace_id", "dataset_id", "seed_id", "lease_token", "sample_index", name="uq_attempts_lease"),
    )
    op.create_table(
        "leases",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seed_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(), server_default="queued", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("setbacks", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("open_samples", postgresql.ARRAY(sa.SmallInteger()), nullable=True),
        sa.Column("error_class", sa.String(), nullable=True),
        sa.Column("error_text", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(state = 'leased') = (lease_token IS NOT NULL) AND (state = 'leased') = (worker_id IS NOT NULL)",
            name=op.f("ck_leases_leased_has_token_and_worker"),
        ),
        sa.CheckConstraint("state IN ('queued', 'leased', 'done', 'failed', 'cancelled')", name=op.f("ck_leases_state")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "dataset_id", "seed_id"],
            ["seeds.workspace_id", "seeds.dataset_id", "seeds.seed_id"],
            name=op.f("fk_leases_seeds"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", "seed_id", name=op.f("pk_leases"), postgresql_include=["state"]),
        postgresql_with={
            "fillfactor": "80",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_insert_scale_factor": "0.05",
        },
    )
    op.create_index(
        "ix_leases_claim",
        "leases",
        ["workspace_id", "dataset_id", "not_before", "seed_id"],
        unique=False,
        postgresql_where="state = 'queued'",
    )
    op.create_index("ix_leases_worker", "leases", ["worker_id"], unique=False, postgresql_where="state = 'leased'")
    op.create_table(
        "samples",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sample_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("seed_id", sa.BigInteger(), nullable=False),
        sa.Column("sample_index", sa.SmallInteger(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.Column("recipe_revision", sa.Integer(), nullable=False),
        sa.Column("teacher", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("detail", sa.String(), nullable=True),
        sa.Column("reasoning", sa.String(), nullable=True),
        sa.Column("response", sa.String(), nullable=False),
        sa.Column("scores", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(verdict = 'rejected') = (reason IS NOT NULL)", name=op.f("ck_samples_rejected_has_reason")),
        sa.CheckConstraint("verdict = 'rejected' OR response <> ''", name=op.f("ck_samples_accepted_not_empty")),
        sa.CheckConstraint("verdict IN ('accepted', 'rejected')", name=op.f("ck_samples_verdict")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "dataset_id", "seed_id"],
            ["seeds.workspace_id", "seeds.dataset_id", "seeds.seed_id"],
            name=op.f("fk_samples_seeds"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", "sample_id", name=op.f("pk_samples")),
    )
    op.create_index(
        "ix_samples_reason", "samples", ["workspace_id", "dataset_id", "verdict", "reason", "sample_id"], unique=False
    )
    op.create_index("ix_samples_seed", "samples", ["workspace_id", "dataset_id", "seed_id"], unique=False)
    op.create_index(
        "uq_samples_accepted",
        "samples",
        ["workspace_id", "dataset_id", "seed_id", "sample_index"],
        unique=True,
        postgresql_where="verdict = 'accepted'",
    )
    op.create_table(
        "duplicate_keys",
        sa.Column("workspace_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sample_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "dataset_id", "slot", "key", "sample_id", name=op.f("pk_duplicate_keys")),
    )
    op.execute("INSERT INTO workspaces (workspace_id, name) VALUES (1, 'default')")


def downgrade() -> None:
    op.drop_table("duplicate_keys")
    op.drop_index("uq_samples_accepted", table_name="samples", postgresql_where="verdict = 'accepted'")
    op.drop_index("ix_samples_seed", table_name="samples")
    op.drop_index("ix_samples_reason", table_name="samples")
    op.drop_table("samples")
    op.drop_index("ix_leases_worker", table_name="leases", postgresql_where="state = 'leased'")
    op.drop_index("ix_leases_claim", table_name="leases", postgresql_where="state = 'queued'")
    op.drop_table("leases")
    op.drop_table("attempts")
    op.drop_index("uq_uploads_idempotency_key", table_name="uploads", postgresql_where="idempotency_key IS NOT NULL")
    op.drop_table("uploads")
    op.drop_table("seeds")
    op.drop_table("recipes")
    op.drop_table("datasets")
    op.drop_table("workspaces")
    op.drop_table("workers")
