"""Alembic migrations: additive first, removal later, one change each."""
