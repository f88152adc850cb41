"""Everything stored of a user, to hand over: one document as JSON, and its events as a table that opens in pandas."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from core.errors import InvalidRequest
from core.store import Store

SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("us", tz="UTC")),
        ("type", pa.string()),
        ("item", pa.string()),
        ("value", pa.float64()),
        ("session", pa.string()),
        ("slate", pa.string()),
        ("position", pa.int32()),
        ("data", pa.string()),  # JSON: the context of an interaction, the items of an impression
        ("source", pa.string()),
        ("id", pa.string()),
    ]
)


def everything_of(store: Store, user: str) -> dict[str, Any]:
    """`user`, `attributes` (None where never set), `events` (detached months' too, oldest first) and the `dead_letters` that
    name the user. Raises DatabaseUnavailable.
    """
    letters = [
        {"number": one.number, "reason": one.reason, "detail": one.detail, "at": one.at, "payload": _text(one.payload)}
        for one in store.dead_letters.naming(user)
    ]
    return {
        "user": user, "attributes": store.catalogue.user(user), "events": store.history.export(user), "dead_letters": letters,
    }  # fmt: skip


def as_parquet(document: dict[str, Any]) -> bytes:
    """The events as a Parquet file. In pandas the rest of the document is in `attrs`, and positions are whole numbers."""
    out = io.BytesIO()
    pq.write_table(_table(document), out, compression="zstd")
    return out.getvalue()


def as_csv(document: dict[str, Any]) -> bytes:
    """The events as CSV with a header; times are ISO 8601. The rest of the document is not in it."""
    out = io.BytesIO()
    pyarrow.csv.write_csv(_table(document), out)
    return out.getvalue()


def as_json(document: dict[str, Any]) -> bytes:
    """The whole document."""
    return msgspec.json.format(msgspec.json.encode(document))


FORMATS: dict[str, Callable[[dict[str, Any]], bytes]] = {".parquet": as_parquet, ".csv": as_csv, ".json": as_json}


def write_export(document: dict[str, Any], file: Path) -> None:
    """Write the document in the format that the file's name ends with. Raises InvalidRequest for another."""
    if file.suffix not in FORMATS:
        raise InvalidRequest(f"{file}: the name must end with {', '.join(FORMATS)}")
    file.write_bytes(FORMATS[file.suffix](document))


def _table(document: dict[str, Any]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [one[name] for one in document["events"]] for name in SCHEMA.names}
    columns["data"] = [None if one is None else msgspec.json.encode(one).decode() for one in columns["data"]]
    # Without a word of ours pandas would make whole numbers with gaps into floats.
    whole = {
        "name": "position",
        "field_name": "position",
        "pandas_type": "int32",
        "numpy_type": "Int32",
        "metadata": None,
    }
    notes = {"columns": [whole], "index_columns": [], "column_indexes": [], "pandas_version": "3.0"}
    rest = {name: value for name, value in document.items() if name != "events"}
    encoded = {"pandas": msgspec.json.encode(notes), "PANDAS_ATTRS": msgspec.json.encode(rest)}
    return pa.table(columns, schema=SCHEMA).replace_schema_metadata(encoded)


def _text(payload: bytes | None) -> str | None:
    return None if payload is None else payload.decode(errors="replace")
