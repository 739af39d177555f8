"""`make migration m="…"`: a new migration from the models, against a scratch database at the newest revision."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from app.database import start_embedded
from app.migrate import alembic_config, upgrade


def main(message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dsn = start_embedded(Path(folder))
        asyncio.run(upgrade(dsn))
        config = alembic_config(dsn)
        number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
        command.revision(config, message=message, autogenerate=True, rev_id=f"{number:04d}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('say what it does: make migration m="add …"')
    main(sys.argv[1])
