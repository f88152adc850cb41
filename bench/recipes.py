"""What bench/tables.py tries on each data set: variants by family, and which families each blend mixes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models.blend import Member


@dataclass(frozen=True)
class Variant:
    """One configuration of a model. Of the variants of a family, validation picks one."""

    family: str
    member: Member
    text: bool = False  # whether item text is used

    @property
    def label(self) -> str:
        """The family and what is not default."""
        return f"{self.family} {_plain(self.member.config)}".strip()


@dataclass(frozen=True)
class Recipe:
    """Variants, and the blends by name: the families whose picked variants they mix."""

    variants: tuple[Variant, ...]
    blends: dict[str, tuple[str, ...]]
    cases: int = 30_000  # at most so many validation cases are measured and learned from
    remarks: str = field(default="")


def _plain(config: dict[str, Any]) -> str:
    return " ".join(f"{name}={_plain(v) if isinstance(v, dict) else v}" for name, v in config.items())


def _one(family: str, text: bool = False, /, **config: Any) -> Variant:
    name = family.split(" ")[0]
    return Variant(family, Member(name, config), text)


def _time(films: bool, regularization: float) -> Recipe:
    """Events with a clock: films, sessions."""
    variants = [
        _one("popularity"),
        _one("popularity trending", ranking="trending", half_life_days=1.0),
        _one("popularity trending", ranking="trending", half_life_days=7.0),
        _one("transitions"),
        _one("transitions", repeat=1.0),
        _one("transitions", window=5, reverse_share=0.1, from_power=0.7, recency=0.6, repeat=0.5),
        _one("linear autoencode", regularization=regularization, recency=0.8, dense_items=5000),
        _one("linear next", objective="next", regularization=10.0, train_recency=0.7, recency=0.7, dense_items=5000),
        _one("linear next", objective="next", regularization=30.0, train_recency=0.8, recency=0.8, dense_items=5000),
        _one("graph", recency=0.8, history=50),
        _one("als"),
    ]
    if not films:  # sessions: what one had may come again; films are masked
        variants.insert(3, _one("repeat"))
    every = tuple(dict.fromkeys(variant.family for variant in variants))
    blends = {"blend": every}
    if films:
        variants += [
            _one("content", True),
            _one("content steps", True, through_transitions=True),
        ]
        blends["blend with text"] = (*every, "content", "content steps")
    return Recipe(tuple(variants), blends)


_BEAUTY_STEPS = {
    "window": 20, "distance_power": 0.6, "reverse_share": 0.5, "from_power": 0.5, "to_power": 0.2, "recency": 0.65,
}  # fmt: skip
_BEAUTY_NEXT = {
    "objective": "next", "regularization": 20.0, "train_recency": 0.7, "recency": 0.7, "dense_items": 0, "support": 200,
}  # fmt: skip
_BEAUTY_IDS = ("popularity", "transitions", "linear autoencode", "linear next", "als")
_FILMS = {
    "window": 10,
    "distance_power": 1.0,
    "reverse_share": 0.0,
    "from_power": 0.5,
    "to_power": 0.3,
    "recency": 0.75,
}

RECIPES: dict[str, Recipe] = {
    "beauty-seq": Recipe(
        (
            _one("popularity"),
            _one("transitions"),
            _one("transitions", **_BEAUTY_STEPS),
            _one("linear autoencode", regularization=100.0, recency=0.65, dense_items=0, support=200),
            _one("linear next", **_BEAUTY_NEXT),
            _one("als", factors=128),
            _one("linear text", True, regularization=100.0, recency=0.65, dense_items=0, support=200, text_share=10.0),
            _one("content", True, recency=0.7),
            _one("content steps", True, recency=0.65, through_transitions=True, alike=50, transitions=_BEAUTY_STEPS),
        ),
        {"blend of ids": _BEAUTY_IDS, "blend with text": (*_BEAUTY_IDS, "linear text", "content", "content steps")},
    ),
    "ml-1m-seq": Recipe(
        (
            _one("popularity"),
            _one("transitions"),
            _one("transitions", **_FILMS),
            _one("linear autoencode", regularization=500.0, recency=0.8),
            _one("linear next", objective="next", regularization=100.0, train_recency=0.8, recency=0.8),
            _one("als", factors=128),
        ),
        {"blend": ("transitions", "linear autoencode", "linear next", "als")},
    ),
    "gowalla": Recipe(
        (
            _one("popularity"),
            _one("graph linear"),
            _one("graph linear", power=0.4, rank=256),
            _one("graph plateau", order=8, power=0.4, rank=256, low_pass_power=0.4, low_pass=0.2),
        ),
        {"blend": ("popularity", "graph linear", "graph plateau")},
        cases=8_000,
    ),
    "ml-100k": _time(True, 200.0),
    "retailrocket": Recipe(
        (
            _one("popularity"),
            _one("popularity trending", ranking="trending", half_life_days=7.0),
            _one("repeat"),
            _one("transitions"),
            _one("transitions", repeat=1.0),
            _one("linear next", objective="next", regularization=10.0, train_recency=0.7, recency=0.7, support=100),
            _one("als"),
        ),
        {"blend": ("popularity", "popularity trending", "repeat", "transitions", "linear next", "als")},
        cases=5_000,
    ),
    "yoochoose-100k": _time(False, 100.0),
}
