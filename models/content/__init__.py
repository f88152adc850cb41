"""Generated texts: kinds, the checker of facts, the writer.

CONTENT_KINDS holds every kind by its name, ITEM_KINDS those whose facts are one catalogue item.
"""

from models.content.answer import ANSWER
from models.content.because import BECAUSE
from models.content.description import DESCRIPTION
from models.content.headline import HEADLINE
from models.content.kind import CONTENT_KINDS, ITEM_KINDS
from models.content.label import LABEL
from models.content.review_summary import REVIEW_SUMMARY
from models.content.slate import EMAIL_SUBJECT, PUSH_TEXT
from models.content.theme import THEME
from models.content.translation import TRANSLATION

ITEM_KINDS |= {kind.name: kind for kind in (DESCRIPTION, HEADLINE)}
CONTENT_KINDS |= ITEM_KINDS
CONTENT_KINDS |= {kind.name: kind for kind in (EMAIL_SUBJECT, PUSH_TEXT)}
CONTENT_KINDS |= {kind.name: kind for kind in (THEME, BECAUSE, REVIEW_SUMMARY, ANSWER, LABEL, TRANSLATION)}

__all__ = ["CONTENT_KINDS", "ITEM_KINDS"]
