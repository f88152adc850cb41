"""German: the words a checked text is made of, what catalogue words are called in it, and how they join."""

from __future__ import annotations

from models.content.language import Language, word_set

# By their part in a sentence, as words.PARTS for English. Few on purpose: "über", "bei" and "nach" would open claims.
PARTS: dict[str, tuple[str, ...]] = {
    "article": ("ein", "eine", "einen", "einem", "einer", "eines", "der", "die", "das", "den", "dem", "des"),
    "this": ("dieser", "diese", "dieses"),
    "and": ("und", "sowie"),
    "also": ("auch",),
    "be": ("ist", "war"),
    "it": ("er", "sie", "es"),
    "that": ("welcher", "welche", "welches"),
    "with": ("mit", "mit viel"),
    "as": ("als",),
    "in": ("in", "im"),
    "from": ("aus", "von", "vom"),
    "for": ("für",),
    "joins": ("verbindet", "kombiniert", "vereint", "mischt", "enthält"),
    "blend": ("mischung", "verbindung", "kombination", "mischung aus", "verbindung von"),
    "released": ("erschienen", "erschien", "veröffentlicht", "kam heraus"),
    "belongs": ("gehört zu", "gehört zu den", "gehört zum", "gehört zur", "zählt zu", "zählt zu den"),
    "genre": ("genre", "genres", "kategorie", "kategorien", "elemente", "elementen"),
    "year-word": ("jahr", "jahre"),
    "whole": ("teil dieses katalogs",),
}

FOLLOWING: dict[str, frozenset[str]] = {
    part: word_set(after)
    for part, after in {
        "start": "title it article this released category noun fact in from",
        "title": "end comma bracket and be joins released belongs with from fact as also noun year",
        "bracket": "year article noun category from",
        "year": "end comma and be joins released belongs with category noun fact that title from",
        "category": "end comma and category noun genre blend with from released as title audience fact for be joins bracket",
        "audience": "end comma and noun from released that with category be joins",
        "noun": "end comma and that with from released in joins be belongs title audience fact as for article genre category"
        " year bracket",
        "genre": "end comma and category from with be joins",
        "fact": "end comma and noun genre from with be category title fact for also released in",
        "comma": "title category article also and be joins released belongs that with it from as audience fact noun this for",
        "article": "category noun genre blend year year-word fact title audience",
        "this": "noun genre fact",
        "and": "category article also be joins it released belongs audience fact noun with from title for",
        "also": "article be joins in from category fact",
        "be": "article also released in from whole fact as category with this title",
        "joins": "category genre fact article title",
        "it": "be joins belongs also released",
        "that": "be joins belongs also",
        "with": "category article genre fact title audience",
        "as": "article category noun",
        "in": "year article year-word",
        "from": "year article year-word fact title",
        "for": "article category fact title audience",
        "blend": "category article genre fact from",
        "released": "in year end and comma be from",
        "belongs": "genre category article",
        "year-word": "year",
        "whole": "end comma and",
    }.items()
}

CLAIMS: dict[str, frozenset[str]] = {
    "negation": word_set("nicht kein keine keinen keiner keines nie niemals ohne weder noch nichts kaum ausser außer"),
    "superlative": word_set(
        "beste bester bestes besten besser größte größter "
        "größten schönste erste erster ersten einzige einziger letzte "
        "einzigartig perfekt perfekte legendär legendärer legendäre "
        "kult kultig klassiker meisterwerk bahnbrechend bahnbrechender beliebt "
        "beliebte beliebteste beliebtesten berühmt berühmte "
        "bestseller erfolgreichste erfolgreichsten hochwertig hochwertige "
        "hochwertiger premium großartig großartige brillant exklusiv exklusive unvergesslich unvergessliche"
    ),
    "award": word_set(
        "preisgekrönt preisgekrönte preisgekrönter ausgezeichnet ausgezeichnete "
        "oscar oscars gewann gewonnen gewinner nominiert "
        "filmpreis auszeichnung auszeichnungen"
    ),
    "price": word_set(
        "preis preise kostet kosten günstig günstige günstiger "
        "günstiges billig billige gratis kostenlos umsonst rabatt "
        "reduziert sale angebot euro versandkostenfrei schnäppchen sonderpreis"
    ),
    "number": word_set(
        "eins zwei drei vier fünf sechs sieben acht neun "
        "zehn elf zwölf zwanzig hundert tausend tausende million millionen "
        "zweite zweiten dritte dritten einmal zweimal doppelt halb halbe halben mehrere viele einige"
    ),
    "category": word_set(
        "action abenteuer abenteuerfilm animation animiert komödie komödien "
        "drama dramen horror krimi krimis thriller western "
        "romanze fantasy krieg musical dokumentation kriegsfilm horrorfilm liebesfilm science fiction familie"
    ),
}
ADDRESSING = word_set(
    "ich mir mich mein meine wir uns unser unsere unseren du dir dich dein deine ihr ihnen ihre bitte gerne"
)

NUMBERS = {"zwei": 2, "drei": 3, "vier": 4, "fünf": 5, "sechs": 6, "sieben": 7, "acht": 8}
NUMBERS |= {"neun": 9, "zehn": 10, "elf": 11, "zwölf": 12}

# What an item is called: (article, plural forms), by the word in `type`, in German or in English.
NOUNS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "film": ("ein", "Film", ("filme", "filmen", "films", "filmes")),
    "buch": ("ein", "Buch", ("bücher", "büchern", "buches")),
    "album": ("ein", "Album", ("alben", "albums")),
    "produkt": ("ein", "Produkt", ("produkte", "produkten")),
    "spiel": ("ein", "Spiel", ("spiele", "spielen")),
    "serie": ("eine", "Serie", ("serien",)),
    "artikel": ("ein", "Artikel", ("artikeln",)),
    "titel": ("ein", "Titel", ("titeln",)),
    "lied": ("ein", "Lied", ("lieder", "liedern")),
}
NOUN_OF = {
    "film": "film", "movie": "film", "book": "buch", "buch": "buch", "album": "album", "product": "produkt", "produkt": "produkt",
    "game": "spiel", "spiel": "spiel", "series": "serie", "serie": "serie", "article": "artikel", "artikel": "artikel",
    "song": "lied", "lied": "lied",
}  # fmt: skip

# Catalogue words in English and German.
GLOSSARY: dict[str, str] = {
    "action": "Action", "adventure": "Abenteuer", "animation": "Animation", "biography": "Biografie", "children's": "Kinder",
    "children": "Kinder", "comedy": "Komödie", "crime": "Krimi", "documentary": "Dokumentation", "drama": "Drama",
    "family": "Familie", "fantasy": "Fantasy", "film noir": "Film noir", "history": "Geschichte", "horror": "Horror",
    "music": "Musik", "musical": "Musical", "mystery": "Mystery", "romance": "Romanze", "sci fi": "Science-Fiction",
    "science fiction": "Science-Fiction", "sport": "Sport", "sports": "Sport", "thriller": "Thriller", "war": "Krieg",
    "western": "Western", "kitchen": "Küche", "pans": "Pfannen", "pots": "Töpfe", "lamps": "Lampen", "lights": "Leuchten",
    "office": "Büro", "office products": "Bürobedarf", "books": "Bücher", "pens": "Stifte", "toys": "Spielzeug",
    "games": "Spiele", "board games": "Brettspiele", "shoes": "Schuhe", "clothing": "Kleidung", "garden": "Garten",
    "electronics": "Elektronik", "beauty": "Schönheit", "health": "Gesundheit", "jewelry": "Schmuck", "tools": "Werkzeug",
    "furniture": "Möbel", "jazz": "Jazz", "rock": "Rock", "pop": "Pop", "novel": "Roman", "ink": "Tinte", "paper": "Papier",
    "kitchen dining": "Küche und Esszimmer", "planners": "Kalender", "notebooks": "Notizbücher",
}  # fmt: skip

# Of a label: other forms, and how it begins a compound ("kriegs-": Kriegsfilm). A star stands for an adjective's endings.
FORMS: dict[str, tuple[str, ...]] = {
    "animation": ("animiert*", "animationen", "animations-"),
    "kinder": ("für kinder", "kinder-"),
    "komödie": ("komödien", "komödiantisch*", "komisch*", "komik", "komödien-"),
    "krimi": ("krimis", "kriminal-", "krimi-", "kriminalgeschichte"),
    "dokumentation": ("dokumentationen", "dokumentarisch*", "dokumentar-"),
    "drama": ("dramen", "dramas", "dramatisch*"),
    "familie": ("familien", "familien-", "für die ganze familie"),
    "geschichte": ("historisch*", "historien-"),
    "horror": ("horror-",),
    "action": ("action-",),
    "abenteuer": ("abenteuer-", "abenteuerlich*"),
    "fantasy": ("fantasy-",),
    "romanze": ("romanzen", "romantisch*", "liebes-", "liebesgeschichte"),
    "science fiction": ("sci fi", "scifi", "sciencefiction-"),
    "thriller": ("thrillern", "thrillers", "thriller-"),
    "krieg": ("kriegs-", "den krieg"),
    "western": ("western-", "westerns"),
    "sport": ("sport-", "sportlich*"),
    "musik": ("musik-", "musikalisch*"),
    "küche": ("küchen-", "küchen"),
    "pfannen": ("pfanne", "pfannen-"),
    "töpfe": ("topf", "töpfen"),
    "lampen": ("lampe", "lampen-"),
    "büro": ("büro-", "büros"),
    "roman": ("romane", "romanen", "romans"),
    "stifte": ("stift", "stiften"),
}
ENDINGS = ("", "e", "er", "es", "en", "em")

COMMON = word_set(
    "der die das ein eine einen einem einer und ist mit für von "
    "aus dem den des im jahr nicht sie ihr ihre ihnen auch wird "
    "haben hat weil wie zu zur zum bei nur noch über oder als auf sich es werden kann wurde"
)

GERMAN = Language("de", PARTS, FOLLOWING, CLAIMS, ADDRESSING, NUMBERS, COMMON)
