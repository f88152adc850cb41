"""Generated texts: kinds, the checker of facts, the writer. CONTENT_KINDS holds every kind by its name."""

from models.content.description import DESCRIPTION
from models.content.kind import CONTENT_KINDS

CONTENT_KINDS[DESCRIPTION.name] = DESCRIPTION

__all__ = ["CONTENT_KINDS"]
