"""The schema, one table a file. Every tenant table's keys lead with the workspace."""

from app.models.attempts import Attempt
from app.models.base import Base
from app.models.datasets import Dataset
from app.models.duplicate_keys import DuplicateKey
from app.models.leases import Lease
from app.models.recipes import RecipeRevision
from app.models.samples import Sample
from app.models.seeds import Seed
from app.models.spending import Spending
from app.models.uploads import Upload
from app.models.workers import WorkerProcess
from app.models.workspaces import Workspace

__all__ = [
    "Attempt",
    "Base",
    "Dataset",
    "DuplicateKey",
    "Lease",
    "RecipeRevision",
    "Sample",
    "Seed",
    "Spending",
    "Upload",
    "WorkerProcess",
    "Workspace",
]
