"""`headwater evaluate --data`: any folder in the data format, beside its published figures, in print and as JSON."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest

from headwater.commands.evaluate import left_out
from models.item_features import ItemFeatures
from models.protocols import read_protocol
from tests.headwater.test_cli import headwater

PROTOCOL = """metrics = ["hr@2", "ndcg@2"]
mask_seen = true
[[published]]
method = "Someone"
"hr@2" = 0.5
"""


def folder(path: Path, split: str = "time", items: str = "") -> Path:
    """12 users walk a ring of 10 items; a given split asks each for two steps more."""
    (path / "protocol.toml").write_text(f'split = "{split}"\n{PROTOCOL}')
    walks = [(f"u{user:02d}", f"i{(user + step) % 10}", 12 * step + user) for step in range(7) for user in range(12)]
    files = {
        "interactions": "user,item,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in walks),
        "test": "user,item\n" + "".join(f"u{u:02d},i{(u + step) % 10}\n" for u in range(12) for step in (7, 8)),
        "items": items,
    }
    for name, text in files.items():
        if text:
            with gzip.open(path / f"{name}.csv.gz", "wt") as file:
                file.write(text)
    return path


@pytest.mark.parametrize(("split", "cases"), [("time", 9), ("leave-last-out", 12), ("given", 12)])
def test_every_protocol_prints_our_rows_with_their_cost_beside_the_published_ones(tmp_path, split, cases):
    answer = headwater("evaluate", "--data", str(folder(tmp_path, split)), "--models", "popularity,transitions")
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[0].split() == ["model", "hr@2", "95%", "ndcg@2", "95%", "hits", "fit", "s", "ms/case", "peak", "MB"]
    assert [line.split()[0] for line in lines[1:4]] == ["popularity", "transitions", "Someone"]
    assert f"{cases} cases" in answer.stdout
    assert float(lines[2].split()[1]) > 0.9  # whoever walks a ring goes on
    assert "miscalibration" in answer.stdout


def test_the_json_document_holds_what_the_table_does_and_categories_are_read_from_the_items(tmp_path):
    items = "item,title,categories\n" + "".join(f"i{n},red thing {n % 2},c{n % 3}\n" for n in range(10))
    answer = headwater(
        "evaluate", "--data", str(folder(tmp_path, items=items)), "--models", "transitions,content", "--json"
    )
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert document["published"] == [{"method": "Someone", "hr@2": 0.5}]
    transitions, content = document["models"]
    assert (transitions["model"], content["model"]) == ("transitions", "content")
    assert transitions["metrics"]["hr@2"] > content["metrics"]["hr@2"]
    assert transitions["lists"]["miscalibration"] > 0
    assert {"novelty_bits", "popularity_lift", "tail_share", "coverage"} <= transitions["lists"].keys()
    assert transitions["segments"]["warm items"]["targets"] == 9
    assert transitions["fit_s"] > 0
    assert transitions["peak_bytes"] > 10_000_000


def test_models_that_can_name_nothing_here_are_left_out_with_the_reason_unless_they_are_asked_for(tmp_path):
    protocol = read_protocol(folder(tmp_path))
    assert left_out(protocol, ItemFeatures.from_folder(tmp_path)).keys() == {"repeat", "content"}
    known = ItemFeatures.from_folder(folder(tmp_path, items="item,title\ni1,red thing\n"))
    assert left_out(protocol, known).keys() == {"repeat"}
    assert left_out(msgspec.structs.replace(protocol, mask_seen=False), known) == {}
    asked = headwater("evaluate", "--data", str(tmp_path), "--models", "repeat", "--json")
    assert asked.returncode == 0, asked.stderr
    document = json.loads(asked.stdout)
    assert ([row["model"] for row in document["models"]], document["left_out"]) == (["repeat"], {})


def test_choosing_happens_on_validation_beside_which_nothing_is_published(tmp_path):
    answer = headwater(
        "evaluate", "--data", str(folder(tmp_path)), "--models", "transitions", "--stage", "validation", "--json"
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["published"] == []


def test_a_blend_learns_its_weights_the_way_the_protocol_asks(tmp_path):
    answer = headwater("evaluate", "--data", str(folder(tmp_path, "given")), "--models", "blend", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["models"][0]["metrics"]["hr@2"] > 0.5


def test_a_blend_holds_the_other_models_that_are_evaluated_beside_it(tmp_path):
    """Every item is new to everyone, so that none of the blend's own members can name it; its text can."""
    rows = [f"u{n % 4},i{n},{n}" for n in range(120)]
    with gzip.open(folder(tmp_path) / "interactions.csv.gz", "wt") as file:
        file.write("user,item,timestamp\n" + "\n".join(rows))
    (tmp_path / "protocol.toml").write_text(f'split = "time"\n{PROTOCOL}'.replace("@2", "@4"))
    with gzip.open(tmp_path / "items.csv.gz", "wt") as file:
        file.write(
            "item,title\n" + "".join(f"i{n},{('red', 'green', 'blue', 'grey')[n % 4]} thing\n" for n in range(120))
        )
    figures = {}
    for names in ("blend", "content,blend"):
        answer = headwater("evaluate", "--data", str(tmp_path), "--models", names, "--json")
        assert answer.returncode == 0, answer.stderr
        figures |= {(names, row["model"]): row["metrics"]["hr@4"] for row in json.loads(answer.stdout)["models"]}
    assert figures["blend", "blend"] < 0.2
    assert min(figures["content,blend", "content"], figures["content,blend", "blend"]) >= 0.2


def test_what_cannot_be_evaluated_is_named(tmp_path):
    answer = headwater("evaluate", "--data", str(folder(tmp_path)), "--models", "oracle")
    assert answer.returncode == 2
    assert "choose from" in answer.stderr
    answer = headwater("evaluate", "--data", str(tmp_path / "nowhere"))
    assert answer.returncode != 0
    assert "nowhere" in answer.stderr
    assert "Traceback" not in answer.stderr
