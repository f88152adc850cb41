"""Loading a published model by name: whatever is wrong with its files becomes one error, and costs bounded memory and time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from core.errors import ArtifactCorrupt, HeadwaterError
from models import RECOMMENDERS
from models.blend import Blend
from models.recommender import Recommender

# What arithmetic on foreign numbers raises. A file whose checksum is right may still have been made by someone else.
MISFITS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError, RecursionError,
    RuntimeError, OSError,
)  # fmt: skip


def load_recommender(name: str, folder: Path, live: Mapping[str, Recommender] = MappingProxyType({})) -> Recommender:
    """The model `name` that lies in `folder`; a blend asks the `live` ones in place of its own members, as Blend.load says.

    Raises ArtifactCorrupt for files that do not make one.
    """
    kind = RECOMMENDERS.get(name)
    if kind is None:
        raise ArtifactCorrupt(f"this installation has no model named {name!r}: update it, or roll back")
    try:
        return Blend.load(folder, live) if kind is Blend else kind.load(folder)
    except HeadwaterError:
        raise
    except MISFITS as error:
        raise ArtifactCorrupt(
            f"{folder}: {type(error).__name__}: {error}; train and publish the model again"
        ) from error
