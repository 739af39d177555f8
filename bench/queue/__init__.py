"""The database's side of the engine: claim, store and complete through our code, beside bare SQL. `python -m bench.queue`."""
