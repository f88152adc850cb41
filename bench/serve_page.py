"""The markdown of docs/benchmarks/serve.md."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from collections.abc import Callable, Sequence
from typing import Any

from bench.pages import markdown

Row = Callable[[str, Callable[["One"], str]], list[str]]
One = dict[str, Any]  # everything measured of one size: bench.serve.measure
RATES = ("null", "warm", "cold", "first", "warm_half", "cold_half")


def page(found: Sequence[One], about: str, options: str) -> str:
    """The table of these sizes, below what it is about; `options` are those of the command besides the sizes."""

    def row(label: str, cell: Callable[[One], str]) -> list[str]:
        return [label, *(cell(one) for one in found)]

    flat, chosen = (lambda one: one["search"]["flat"]), (lambda one: one["search"]["auto"])
    rows = [
        row("", lambda one: f"{one['items']:,} items"),
        row("null endpoint, requests/s", lambda one: f"{one['null']['rate']:,.0f}"),
        row("exact search alone, CPU ms", lambda one: f"{flat(one)['search_ms']:.2f}"),
        row("the index that is chosen", lambda one: chosen(one)["kind"].removeprefix("Index")),
        row("its search, CPU ms", lambda one: f"{chosen(one)['search_ms']:.2f}"),
        row("its recall@100", lambda one: f"{chosen(one)['recall']:.3f}"),
        row("its search in a filter of 1%, CPU ms", lambda one: f"{chosen(one)['narrow_ms']:.2f}"),
        row("lists full there", lambda one: "yes" if chosen(one)["full"] else "no"),
        row("its build, CPU s", lambda one: f"{chosen(one)['build_s']:.1f}"),
        *(made for kind in ("warm", "cold") for made in (*_rate(kind, row), *_half(kind, row))),
        *_rate("first", row),
        row(
            "failed or refused: " + ", ".join(RATES), lambda one: ", ".join(str(one[name]["failed"]) for name in RATES)
        ),
        row("start to ready, s", lambda one: f"{one['ready_s']:.1f}"),
        row("memory after the start, MB", lambda one: f"{one['started_mb']:,.0f}"),
        row("memory in the end, MB", lambda one: f"{one['asked_mb']:,.0f}"),
    ]
    sizes = ",".join(str(one["items"]) for one in found)
    made = (
        f"Made by `python bench/serve.py --items {sizes} {options}` on {platform.machine()}, {os.cpu_count()} cores, "
        f"{interpreter()}."
    )
    return "\n".join(["# How fast answers come", "", "```", about, "```", "", *markdown(rows), "", made, ""])


def interpreter() -> str:
    """Which Python served, and how it was built where that is known: an optimised build takes a tenth off a request."""
    configured = sysconfig.get_config_var("CONFIG_ARGS") or "--enable-optimizations"
    plain = (
        sys.base_prefix != "/usr" and "--enable-optimizations" not in configured
    )  # there are a distribution's own rules
    how = ", built without --enable-optimizations" if plain else ""
    return f"Python {platform.python_version()} ({platform.python_compiler()}{how})"


def _rate(kind: str, row: Row) -> list[list[str]]:
    return [
        row(f"**{kind}, requests/s**", lambda one: _kept(one[kind])),
        row(f"{kind}: p50, p99 in ms", lambda one: _pair(one[kind])),
        row(f"{kind}: connections", lambda one: str(one[kind]["connections"])),
        row(f"{kind}: CPU ms of the server", lambda one: f"{one[kind]['cpu_ms']:.2f}"),
    ]


def _half(kind: str, row: Row) -> list[list[str]]:
    half = f"{kind}_half"
    return [
        row(
            f"{kind} at half the rate: p50, p99, late in ms",
            lambda one: f"{_pair(one[half])}, {one[half]['late_ms']:.1f}",
        ),
        row(f"{kind} at half the rate: CPU ms of the server", lambda one: f"{one[half]['cpu_ms']:.2f}"),
    ]


def _kept(run: One) -> str:
    return f"**{run['rate']:,.0f}**" if run["kept"] else f"**none** (fastest: {run['rate']:,.0f})"


def _pair(run: One) -> str:
    return f"{run['p50_ms']:.1f}, {run['p99_ms']:.1f}"
