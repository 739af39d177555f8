"""An upload that goes on where it was cut off looks its seeds up by key, however large the dataset has grown."""

from __future__ import annotations

from sqlalchemy import text

from app.database import Database
from app.seeds.parse import ParsedSeed, content_hash
from app.seeds.repository import SeedRepository
from tests.support.stack import Client

ROWS_READ = text("""
    SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class
    WHERE oid = 'seeds'::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'seeds'::regclass)
""")
SIZE = 500


def seeds(batch: int) -> list[ParsedSeed]:
    names = [(line, f"seed {line}") for line in range(batch * SIZE, (batch + 1) * SIZE)]
    return [ParsedSeed(line, content_hash(name, ""), name, "", None, None) for line, name in names]


async def test_resuming_reads_no_more_rows_than_the_batch_has(client: Client, dsn: str) -> None:
    """Without statistics and with the plan that was made while the table was small, as on a fresh installation."""
    await client.create()
    api = Database(dsn, pool_size=1)
    async with api.begin() as connection:
        await connection.execute(text("ALTER TABLE seeds SET (autovacuum_enabled = off)"))
        dataset_id = (await connection.execute(text("SELECT dataset_id FROM datasets"))).scalar_one()
        upload_id = await SeedRepository(connection, 1, dataset_id).open_upload("key")
    assert upload_id is not None
    for batch in range(12):
        async with api.begin() as connection:
            repository = SeedRepository(connection, 1, dataset_id)
            assert await repository.stored_before(upload_id, seeds(batch)) == 0
            assert await repository.enqueue(upload_id, seeds(batch)) == SIZE
    async with api.begin() as connection:
        repository = SeedRepository(connection, 1, dataset_id)
        before = (await connection.execute(ROWS_READ)).scalar_one()
        assert await repository.stored_before(upload_id, seeds(3)) == SIZE
        assert await repository.stored_before(upload_id + 1, seeds(3)) == 0
        assert (await connection.execute(ROWS_READ)).scalar_one() - before == 2 * SIZE
    await api.close()
