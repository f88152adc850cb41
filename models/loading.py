"""Loading a published model by name: whatever is wrong with its files becomes one error, and costs bounded memory and time."""

from __future__ import annotations

from pathlib import Path

from core.errors import ArtifactCorrupt, HeadwaterError
from models import RECOMMENDERS
from models.recommender import Recommender

# What arithmetic on foreign numbers raises. A file whose checksum is right may still have been made by someone else.
MISFITS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError, RecursionError,
    RuntimeError, OSError,
)  # fmt: skip


def load_recommender(name: str, folder: Path) -> Recommender:
    """The model `name` that lies in `folder`. Raises ArtifactCorrupt for files that do not make one."""
    kind = RECOMMENDERS.get(name)
    if kind is None:
        raise ArtifactCorrupt(f"this installation has no model named {name!r}: update it, or roll back")
    try:
        return kind.load(folder)
    except HeadwaterError:
        raise
    except MISFITS as error:
        raise ArtifactCorrupt(
            f"{folder}: {type(error).__name__}: {error}; train and publish the model again"
        ) from error
