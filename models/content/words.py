"""The words a checked text is made of: what may be said of anything, and what is a claim whoever says it."""

from __future__ import annotations

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Say nothing by themselves. Deliberately few: "about", "for", "by", "during" would each open a new claim.
FUNCTION_WORDS = _set("a an the and also both is was are it its this that which with as well in of from")

# Neutral in a catalogue: they place a category or a year and claim nothing else.
NEUTRAL_WORDS = _set(
    "released appeared combines combining blends blending mixes mixing blend mix combination features featuring includes "
    "including belongs belonging falls listed genre genres category categories element elements year"
)
NEUTRAL_PHRASES = (
    ("belongs", "to"), ("belonging", "to"), ("came", "out"), ("falls", "into"), ("falls", "under"), ("listed", "under"),
    ("part", "of", "this", "catalogue"),
)  # fmt: skip

# A sentence needs one of these, may not end on any of those, and joining takes two categories.
VERBS = _set("is was are appeared combines blends mixes features includes belongs falls came")
JOINING = _set("combines combining blends blending mixes mixing blend mix combination both")
OPEN_ENDED = FUNCTION_WORDS | JOINING | _set("features featuring includes including to into under")
GENRE_NOUNS = _set("genre genres category categories elements")

# Other nouns for the same thing.
SAME_NOUN = {"film": ("movie",), "movie": ("film",)}

# Forms of a category that say the same. Each is words in order; plurals and singulars are derived.
CATEGORY_FORMS: dict[str, tuple[str, ...]] = {
    "comedy": ("comedic",),
    "drama": ("dramatic",),
    "romance": ("romantic",),
    "animation": ("animated",),
    "children's": ("for children",),
    "children": ("children's", "for children"),
    "sci fi": ("science fiction",),
    "science fiction": ("sci fi",),
    "film noir": ("noir",),
    "documentary": ("documentary",),
}

# Categories that are none.
NO_CATEGORY = frozenset(("", "unknown", "none", "n a", "na", "other", "misc", "uncategorized", "no genres listed"))

# Which kind of claim an unsupported word makes. Only explains: an unsupported word in no list is refused just the same.
CLAIMS: dict[str, frozenset[str]] = {
    "negation": _set(
        "not no never without neither nor none nothing isn't wasn't aren't doesn't don't hardly barely lacks lacking "
        "non except"
    ),
    "superlative": _set(
        "best better greatest great finest fine top most more less least ever only ultimate perfect classic iconic legendary "
        "masterpiece beloved famous acclaimed popular hit blockbuster must timeless unforgettable favorite favourite "
        "leading renowned celebrated amazing stunning brilliant excellent outstanding unique rare"
    ),
    "award": _set(
        "award awards winning winner winners won oscar oscars nominated nomination nominee prize prizes academy emmy "
        "grammy cannes golden globe"
    ),
    "price": _set(
        "price priced prices cheap cheaper cheapest free sale discount discounted bargain dollar dollars euro euros cost "
        "costs usd eur"
    ),
    "number": _set(
        "one two three four five six seven eight nine ten eleven twelve dozen hundred hundreds thousand thousands million "
        "millions billion first second third fourth fifth last once twice double triple half several many multiple "
        "numerous various few decade century nineties eighties seventies sixties fifties"
    ),
    "category": _set(
        "action adventure animation animated comedy comedies comedic comic biography children children's crime documentary "
        "drama dramas dramatic family fantasy history historical horror humor humour kids music musical mystery noir "
        "romance romances romantic satire sci fi science fiction sport sports superhero suspense thriller thrillers war "
        "western westerns"
    ),
}

# Speaks to the reader or of the writer: no place in a catalogue, whatever the facts say.
ADDRESSING = _set("i i'm me my we our us you your you'll please sorry sure click buy subscribe here's")

# What only an instruction to a model, or an answer to one, would say.
INSTRUCTION = re.compile(
    r"(?:ignor|disregard|forget|overrid|bypass)\w*\W+(?:\w+\W+){0,3}(?:instruction|previous|prior|above|rule|prompt|order)\w*"
    r"|(?:previous|prior|above|following|these|your|new)\W+instructions?"
    r"|system\W+(?:prompt|message|override)|(?:reveal|print|show|repeat|output|leak)\W+(?:\w+\W+){0,3}"
    r"(?:prompt|instruction|password|secret|credential|api\W?key|token)"
    r"|you\W+are\W+(?:now|an?\W+(?:ai|assistant|chatbot|language))|as\W+an?\W+(?:ai|language)\b|language\W+model"
    r"|act\W+as\W+(?:an?|if|the)\b|jailbreak|developer\W+mode|do\W+anything\W+now|api\W?key|<\|\w*\|?>?|\[/?inst\]"
    r"|\b(?:system|assistant|user)\s*:|(?:other|another|previous)\W+(?:user|customer)",
    re.IGNORECASE,
)

LINK = re.compile(
    r"\w+://\S*|\bwww\.\S*|\bmailto:\S*|\S+@\S+|\b(?:javascript|data|vbscript):\S*"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:com|net|org|io|dev|app|info|biz|ru|cn|de|fr|uk|eu|us|co|ai|xyz|top|site|shop|online|example"
    r"|test|invalid|local|onion)\b\S*|\b[\w-]+\.[\w.-]+/\S*",
    re.IGNORECASE,
)
# Refused wherever it stands, a title included; outside titles the checker allows plain punctuation only.
MARKUP = re.compile(r"</?[a-zA-Z!][^>]*>?|[<>{}|`\\]|\*\*+|__+|\]\(|&#?\w+;")
