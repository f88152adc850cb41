"""Moderation of incoming text by patterns, in English and German: what may not stand in a shop or be shown to a model.

Word lists are blunt: "kill" alone flags nothing, for thrillers are full of it. Each pattern is a phrase that is hardly said
otherwise.
"""

from __future__ import annotations

import re

from models.content.titles import folded, instructs, straight
from models.content.words import LINK, MARKUP

FLAGS = ("abuse", "threat", "sexual", "self_harm", "spam", "personal_data", "instruction", "markup")
READ_CHARS = 20_000


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)", re.IGNORECASE)


PATTERNS = {
    "abuse": _any(
        r"idiots?|morons?|imbeciles?|stupid (?:people|seller|idiot|cow|man|woman)|assholes?|bastards?(?! sword)",
        r"(?:you|u)(?: people)?(?: are|'re|r)?(?: all)?(?: a| such a)?"
        r" (?:loser|fool|scum|stupid|pathetic|disgusting|ugly|liar|dumb)\w*",
        r"bitch(?:es)?|scumbags?|dickheads?|fuck\w*|shit(?:ty|heads?)|retard\w*|vermin|subhuman|filthy liars?",
        r"go back to (?:your|where) \w+",
        r"idioten?|vollidiot\w*|arschl[oö]ch\w*|deppen?|dumm(?:kopf|köpfe)|schwachkopf|schlampen?|hurensohn\w*|wichser",
        r"missgeburt\w*|scheiß(?:laden|verkäufer|typ)\w*|drecksau|abschaum|untermensch\w*|(?:dumme|blöde) (?:kuh|sau|schlampe)",
        r"(?:du|ihr)(?: \w{1,10}){0,2} (?:versager|lügner|trottel|betrüger)",
    ),
    "threat": _any(
        r"(?:i|we)(?: will|'ll| am going to|'m going to| gonna)(?: \w+)? (?:kill|hurt|find|beat|burn|shoot|stab)"
        r" (?:you|him|her|them|your \w+)",
        r"you(?: will|'ll) (?:regret|pay for|die)|watch your back|i know where you live|death to",
        r"(?:ich|wir) (?:bring\w*|mach\w*|schlag\w*|stech\w*|finde\w*|töte\w*) (?:dich|euch|ihn)",
        r"ich weiß,? wo (?:du|ihr) wohn\w+|(?:du|ihr) w(?:irst|erdet) (?:\w+ ){0,2}(?:bereuen|büßen|sterben)",
        r"pass (?:bloß )?auf dich auf",
    ),
    "sexual": _any(
        r"porn\w*|nudes?|naked (?:pics?|girls?|women)|sexy? (?:chat|girls?|video|cam)\w*|escorts?|blowjob\w*|xxx",
        r"hot girls?|onlyfans",
        r"nackt(?:bilder|fotos|e frauen)|sexchat|sextreffen|heiße (?:girls|frauen)|geile (?:girls|frauen|videos)",
    ),
    "self_harm": _any(
        r"kill(?:ing)? myself|end my life|i want to die|suicid\w+|hurt(?:ing)? myself|cut(?:ting)? myself|no reason to live",
        r"mich umbringen|mir das leben nehmen|nicht mehr leben|selbstmord\w*|suizid\w*|mich (?:selbst )?(?:verletze|ritze)n?",
    ),
    "spam": _any(
        r"click (?:here|the link|below)|buy (?:now|followers|likes|cheap)|visit my (?:site|shop|page|channel|profile)",
        r"check out my",
        r"make (?:easy )?money|earn (?:up to )?[$€£]?\d+|work from home|free (?:gift|money|iphone|bitcoin|followers)",
        r"promo code|discount code",
        r"whatsapp|telegram|crypto\w*|bitcoins?|casino bonus|viagra|limited (?:time )?offer|act now",
        r"100% free|dm me|subscribe to|lose weight fast|lost \d+ (?:pounds|kilos|kg)",
        r"klick\w* (?:hier|auf den link)|hier klicken|besuch\w* (?:meine|unseren?) \w+|jetzt (?:zugreifen|bestellen)",
        r"geld verdienen|schnell reich|gratis (?:iphone|gutschein|geld)|rabattcode|gutscheincode|kredit ohne",
        r"von zu ?hause (?:aus )?arbeiten|schreib\w* mir (?:auf|per)|follower kaufen|abonnier\w* meinen|verdiene \d+",
    ),
    "personal_data": re.compile(
        r"[\w.+-]{1,64}@[\w-]{1,63}\.\w{2,10}|(?<![\w-])\+?\d[\d\s()/-]{8,18}\d(?![\w-])|\b[A-Z]{2}\d{2}(?:\s?\w{4}){3,7}\b"
        r"|\b(?:\d{4}[ -]){3}\d{4}\b|\b\d{3}-\d{2}-\d{4}\b|\b\w{3,20}(?:straße|strasse|weg|allee|platz) \d{1,3}\b"
        r"|\b\d{1,4} \w{3,20} (?:street|avenue|road|lane|drive)\b",
        re.IGNORECASE,
    ),
}


def flags(text: str) -> dict[str, str]:
    """What speaks against showing a text, each flag with the words that raised it; in the order of FLAGS."""
    seen = straight(text[:READ_CHARS])
    plainly = folded(seen)
    found: dict[str, str] = {}
    for name, pattern in PATTERNS.items():
        if match := pattern.search(seen) or pattern.search(plainly):
            found[name] = match.group()
    if (link := LINK.search(seen)) and "personal_data" not in found:
        found.setdefault("spam", link.group())
    if instructs(seen):
        found["instruction"] = seen[:80]
    if markup := MARKUP.search(seen):
        found["markup"] = markup.group()
    return {name: found[name] for name in FLAGS if name in found}
