"""The recipe revisions that this worker has met; a revision never changes, so each is read once."""

from __future__ import annotations

from pydantic import ValidationError

from app.database import Database
from app.datasets.recipe import Recipe
from app.datasets.repository import DatasetRepository
from app.logs import get_logger

logger = get_logger(__name__)
MOST_KEPT = 10_000


class Recipes:
    """Looks recipes up by (workspace, dataset, revision)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[int, int, int], Recipe] = {}
        self._unreadable: set[tuple[int, int, int]] = set()

    async def get(self, workspace_id: int, dataset_id: int, revision: int) -> Recipe:
        """The recipe.

        Raises:
            ValidationError: this release cannot read it.
        """
        key = (workspace_id, dataset_id, revision)
        if key not in self._known:
            async with self._database.begin() as connection:
                body, _ = await DatasetRepository(connection).recipe(*key)
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = Recipe.model_validate(body)
        return self._known[key]

    async def usable(self, workspace_id: int, dataset_id: int, revision: int) -> Recipe | None:
        """None for a recipe that this release cannot read: that dataset waits, and holds up no other."""
        try:
            return await self.get(workspace_id, dataset_id, revision)
        except ValidationError as exc:
            key = (workspace_id, dataset_id, revision)
            if key not in self._unreadable:
                self._unreadable.add(key)
                logger.error("recipe_unreadable", dataset_id=dataset_id, revision=revision, error=str(exc)[:300])
            return None
