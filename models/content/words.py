"""The words a checked text is made of: what may be said of anything, and what is a claim whoever says it."""

from __future__ import annotations

import re

from models.content.language import Language
from models.content.language import word_set as _set

# What claims nothing by itself, by its part in a sentence. Deliberately few: "about", "for", "by", "during" would each
# open a new claim. A phrase counts as one word.
PARTS: dict[str, tuple[str, ...]] = {
    "article": ("a", "an", "the"),
    "this": ("this", "its"),
    "and": ("and",),
    "also": ("also",),
    "both": ("both",),
    "be": ("is", "was"),
    "it": ("it",),
    "that": ("that", "which"),
    "with": ("with",),
    "as": ("as",),
    "well": ("well",),
    "in": ("in",),
    "of": ("of",),
    "from": ("from",),
    "for": ("for",),
    "joins": ("combines", "blends", "mixes", "features", "includes"),
    "joining": ("combining", "blending", "mixing", "featuring", "including"),
    "blend": ("blend", "mix", "combination"),
    "released": ("released",),
    "came": ("came out", "appeared"),
    "belongs": ("belongs to", "falls into", "falls under"),
    "belonging": ("belonging to", "listed under"),
    "listed": ("listed",),
    "genre": ("genre", "genres", "category", "categories", "element", "elements"),
    "year-word": ("year",),
    "whole": ("part of this catalogue",),
}

# Which parts may follow which: the grammar of a catalogue sentence. Besides PARTS there are title, year, category,
# "audience" (a category that begins with "for"), noun, fact, comma (also : and ;), bracket, start and end.
FOLLOWING: dict[str, frozenset[str]] = {
    part: _set(after)
    for part, after in {
        "start": "title it article this released belonging fact",
        "title": "end comma bracket and be joins released came belongs with fact",
        "bracket": "year",
        "year": "end comma and be joins released came belongs that with category noun",
        "category": "end comma and category noun genre blend that with from released as title audience fact for be",
        "audience": "end comma and noun from released that with fact",
        "noun": "end comma and that with from released in of joining be joins came belongs belonging title audience fact as"
        " for",
        "genre": "end comma and of that from with in category",
        "fact": "end comma and noun genre from with that be fact category of",
        "comma": "title category article and also both be joins joining released came belongs belonging that with it from as"
        " audience fact",
        "article": "category noun genre blend year year-word fact title",
        "for": "article category fact title audience",
        "this": "noun genre fact",
        "and": "category article also both be joins joining it released came belongs audience fact",
        "also": "article be joins belongs in",
        "both": "category article",
        "be": "article both also released in from belonging listed whole fact",
        "joins": "category both genre fact",
        "joining": "category both genre",
        "it": "be joins came belongs also fact",
        "that": "be joins came belongs also",
        "with": "category article both genre",
        "as": "article well",
        "well": "as",
        "in": "year article year-word category both",
        "of": "category article both genre fact",
        "from": "year article year-word",
        "blend": "of",
        "released": "in",
        "came": "in",
        "belongs": "article category both",
        "belonging": "article category both",
        "listed": "as",
        "year-word": "year",
        "whole": "end comma and",
    }.items()
}

FUNCTION_WORDS = frozenset(word for words in PARTS.values() for phrase in words for word in phrase.split())
PART_OF = {phrase: part for part, phrases in PARTS.items() for phrase in phrases}
VERBS = frozenset(phrase for part in ("be", "joins", "came", "belongs") for phrase in PARTS[part])
JOINING = frozenset((*PARTS["joins"], *PARTS["joining"], *PARTS["blend"], "both")) - _set(
    "features includes featuring including"
)

# What makes a quoted sentence one: verbs of descriptions that are no nouns, English and German.
QUOTED_VERBS = _set(
    "is are was were has have can will does do comes come allows allow provides provide offers keeps keep makes make lets "
    "gives helps contains contain fits fit holds adheres adhere attaches attach remains remain stays stay protects protect "
    "prevents prevent resists reduces ensures creates delivers produces eliminates measures includes include features feature "
    "opens closes fastens folds writes dries erases clings sticks saves adds stands sits mounts clamps glides requires works "
    "adjusts accepts meets removes slides rotates accommodates organizes combines consists gives improves supports secures "
    "lengthens joins let serves produces releases extends resist ensure eliminate measure enables enable combine "
    "ist sind war hat haben kann können wird werden bietet bieten passt passen hält halten lässt besteht enthält sorgt schützt"
)

# Words of praise and price that in these pairs are properties of a thing: "acid-free paper", "a fine point".
PROPERTIES = frozenset(
    tuple(pair.split())
    for pair in (
        "acid free", "latex free", "pvc free", "bpa free", "lignin free", "smudge free", "smear free", "bleed free",
        "bubble free", "lint free", "jam free", "residue free", "dust free", "odor free", "fine point", "fine points",
        "fine tip", "fine tips", "fine line", "fine lines", "fine nib", "extra fine", "ultra fine", "desk top", "table top",
        "top edge", "top tab", "and more",
    )
)  # fmt: skip

# How a quoted sentence without a verb may begin, besides with a number, "-ed" and "-able": never an order ("Enjoy the glide.").
LEADS = _set(
    "made ideal one two three four five six seven eight nine ten twelve high low heavy light large small wide thin soft hard "
    "strong sturdy durable bright vibrant smooth flexible full half double single dual multi multiple extra ergonomic"
)
NO_LEADS = _set("enable disable need speed feed proceed exceed succeed embed shed")

# Other nouns for the same thing.
SAME_NOUN = {"film": ("movie",), "movie": ("film",)}

# Forms of a category that say the same. Each is words in order; plurals and singulars are derived.
CATEGORY_FORMS: dict[str, tuple[str, ...]] = {
    "comedy": ("comedic",),
    "drama": ("dramatic",),
    "romance": ("romantic",),
    "animation": ("animated",),
    "children's": ("for children", "made for children", "for kids"),
    "children": ("children's", "for children", "made for children", "for kids"),
    "sci fi": ("science fiction",),
    "science fiction": ("sci fi",),
    "film noir": ("noir",),
    "documentary": ("documentary",),
}

# Categories that are also what such a work is called: "a comedy", but not "a war".
WORKS = frozenset((*_set("comedy documentary drama musical mystery noir romance satire thriller western"), "film noir"))

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
ADDRESSING = _set(
    "i i'm me my we our us you your yours yourself you'll you're you've you'd we're we've please sorry sure click buy "
    "subscribe here's"
)

# What only an instruction to a model, or an answer to one, would say. Like LINK, bounded everywhere: the text is
# whatever someone put into a catalogue, and no part of it may take more than linear time.
_GAP, _WORDS = r"\W{1,12}", r"(?:\w{1,30}\W{1,12}){0,3}"
INSTRUCTION = re.compile(
    rf"(?:ignor|disregard|forget|overrid|bypass)\w{{0,6}}{_GAP}{_WORDS}(?:instruction|previous|prior|above|rule|prompt|order)s?"
    rf"|(?:previous|prior|above|following|these|your|new){_GAP}instructions?|system{_GAP}(?:prompt|message|override)"
    rf"|(?:reveal|print|show|repeat|output|leak){_GAP}{_WORDS}(?:prompt|instruction|password|secret|credential|api\W?key|token)"
    rf"|you{_GAP}are{_GAP}(?:now|an?{_GAP}(?:ai|assistant|chatbot|language))\b|as{_GAP}an?{_GAP}(?:ai|language)\b"
    rf"|(?:respond|reply|answer)\w{{0,3}}{_GAP}(?:with|only|exactly)\b|append{_GAP}(?:this|the)\b|instructions?\s{{0,3}}:"
    rf"|antworte\w{{0,2}}{_GAP}(?:mit|nur)\b|anweisung\w{{0,2}}\s{{0,3}}:|language{_GAP}model|act{_GAP}as{_GAP}(?:an?|if|the)\b|jailbreak|developer{_GAP}mode|do{_GAP}anything{_GAP}now"
    rf"|api\W?key|<\|\w{{0,20}}\|?>?|\[/?inst\]|\b(?:system|assistant|user)\s{{0,3}}:"
    rf"|(?:other|another|previous){_GAP}(?:user|customer)"
    rf"|(?:ignorier|missacht|vergiss|vergess|umgeh)\w{{0,6}}{_GAP}{_WORDS}(?:anweisung|vorherig|bisherig|obig|regel|befehl)\w{{0,4}}"
    rf"|(?:vorherig|bisherig|obig|folgend|neue)\w{{0,3}}{_GAP}anweisung\w{{0,3}}|system{_GAP}?(?:anweisung|aufforderung)"
    rf"|(?:zeig|verrat|wiederhol|gib|nenn)\w{{0,3}}{_GAP}{_WORDS}(?:prompt|anweisung|passwort|geheimnis|schlüssel)\w{{0,4}}"
    rf"|du{_GAP}bist{_GAP}(?:jetzt|nun|ein)\b|sprachmodell|andere\w?{_GAP}(?:nutzer|kunde|benutzer)\w{{0,3}}"
    rf"|(?:ignor|oubli|olvid)\w{{0,6}}{_GAP}{_WORDS}(?:instru[ck]\w{{0,8}}|anterior\w{{0,3}}|précédent\w{{0,3}})",
    re.IGNORECASE,
)

# Orders to anyone, at the beginning of a sentence: what it stands in is not quoted, whatever it asks for.
ORDER = re.compile(
    r"(?:^|[.!?:;\n\])}>\"'|*]|(?<!\w)-)\s{0,5}(?:please |bitte |now |dear \w+,? )?"
    r"(?:say|write|print|output|reply|respond|answer|append|insert|include|add|mention|tell|state|claim|repeat|reveal|translate"
    r"|pretend|promise|begin|start|end|finish|praise|rate|give|call|send"
    r"|sag|sage|schreib|schreibe|antworte|nenne|nenn|gib|behaupte|erwähne|wiederhole|verrate|beginne|lobe|bewerte|übersetze"
    r"|dis|écris|réponds|di|escribe|responde)\b",
    re.IGNORECASE,
)

LINK = re.compile(
    r"\b\w{1,20}://\S*|\bwww\.\S*|\bmailto:\S*|[\w.+-]{1,64}@[\w-]\S*|\b(?:javascript|data|vbscript):\S*"
    r"|\b[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}\.(?:com|net|org|io|dev|app|info|biz|ru|cn|de|fr|uk|eu|us|co|ai|xyz|top|site|shop"
    r"|online|example|test|invalid|local|onion)\b\S*|\b[\w-]{1,63}\.[\w.-]{1,63}/\S*",
    re.IGNORECASE,
)
# Refused wherever it stands, a title included; outside titles the checker allows plain punctuation only.
MARKUP = re.compile(r"</?[a-zA-Z!][^>]*>?|[<>{}|`\\]|\*\*+|__+|\]\(|&#?\w+;")

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
NUMBERS |= {"eleven": 11, "twelve": 12}
COMMON = _set(
    "the a an is and with for from of to in on it you your are was were has have this that these by not which also been at "
    "as or but its their there can"
)
ENGLISH = Language("en", PARTS, FOLLOWING, CLAIMS, ADDRESSING, NUMBERS, COMMON)
