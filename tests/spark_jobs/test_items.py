"""Table `items`: every item once, with an index that never changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from expectations.tables import ITEMS, REJECTED_ITEMS
from spark_jobs import events, items
from spark_jobs.config import EdgeMapping, ItemMapping, TagMapping
from spark_jobs.landing.expressions import MappingError
from spark_jobs.landing.item_lines import SUPERSEDED
from tests.spark_jobs.landed import content, job, jsonl, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
FILMS = source(
    items=(
        ItemMapping(
            files=("films/*.json",),
            format="jsonl",
            item="id",
            title="name",
            description="text",
            launched_at="out",
        ),
    ),
    tags=(
        TagMapping(
            files=("tags/*.json",),
            format="jsonl",
            item="id",
            tag="tag",
            tagged_at="at",
            tagged_at_unit="seconds",
        ),
    ),
    edges=(
        EdgeMapping(files=("films/*.json",), format="jsonl", item="id", relation="'cast'", entity="cast"),
    ),
)


def refresh(spark, landing, config=FILMS):
    """Runs both jobs, as a cycle does."""
    ingested = events.main(spark, job(landing, config))
    return items.main(spark, job(landing, config, versions=ingested.versions))


def film(item_id, name, **more):
    return {"id": item_id, "name": name, "text": None, "out": None, "cast": None} | more


def test_items_carry_what_their_files_say(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "f2", "t": T}, {"u": "a", "i": "f9", "t": T + 5})
    jsonl(
        landing / "films" / "1.json",
        film("f1", "Up", text="A house flies", out="2025-12-24", cast=["Ed", "Jo", "Ed"]),
        film("f2", "Heat", out="2025-12-25T10:00:00Z", cast="Al"),
    )
    jsonl(
        landing / "tags" / "1.json",
        {"id": "f1", "tag": ["sky", "old age"], "at": T},
        {"id": "f1", "tag": "sky", "at": T},
    )
    result = refresh(spark, landing)
    rows = {row["item_id"]: row for row in content(spark, job(landing, FILMS), ITEMS)}
    assert {name: row["item_index"] for name, row in rows.items()} == {"f2": 0, "f9": 1, "f1": 2}
    up = rows["f1"]
    assert (up["title"], up["description"], up["launched_at"]) == (
        "Up",
        "A house flies",
        datetime(2025, 12, 24),
    )
    at = datetime(2026, 1, 1)
    assert [tuple(tag) for tag in up["tags"]] == [("old age", at), ("sky", at)]
    assert [tuple(edge) for edge in up["edges"]] == [("cast", "Ed"), ("cast", "Jo")]
    assert rows["f2"]["launched_at"] == datetime(2025, 12, 25, 10)
    assert (rows["f9"]["title"], rows["f9"]["launched_at"], rows["f9"]["tags"]) == (None, None, [])
    assert result.figures.items == result.figures.items_new == 3
    assert (result.figures.items_with_description, result.figures.items_with_edges) == (1, 2)


def test_an_item_may_be_withdrawn_and_come_back(spark, landing):
    (films,) = FILMS.items
    config = source(items=(films.model_copy(update={"retired": "gone"}),))
    jsonl(landing / "log.jsonl", {"u": "a", "i": "f1", "t": T})
    jsonl(
        landing / "films" / "1.json",
        film("f1", "Up", gone=True),
        film("f2", "Heat", gone="no"),
        film("f3", "Jaws", gone=None),
        film("f4", "Alien", gone="perhaps"),
    )
    refresh(spark, landing, config)
    retired = {row["item_id"]: row["retired"] for row in content(spark, job(landing, config), ITEMS)}
    assert retired == {"f1": True, "f2": False, "f3": None, "f4": None}
    (told,) = content(spark, job(landing, config), REJECTED_ITEMS)
    assert told["reason"] == "kept without retired, which is neither true nor false"
    jsonl(landing / "films" / "2.json", film("f1", "Up", gone=False))
    refresh(spark, landing, config)
    retired = {row["item_id"]: row["retired"] for row in content(spark, job(landing, config), ITEMS)}
    assert retired["f1"] is False


def test_an_index_never_changes_and_nothing_new_writes_nothing(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "m", "t": T}, {"u": "a", "i": "z", "t": T - 9})
    jsonl(landing / "films" / "1.json", film("m", "Old title"))
    jsonl(landing / "tags" / "1.json", {"id": "m", "tag": "sky", "at": T})
    first = refresh(spark, landing)
    again = refresh(spark, landing)
    assert again.versions == first.versions
    assert (again.figures.items, again.figures.items_new, again.figures.items_with_tags) == (2, 0, 1)
    jsonl(landing / "late.jsonl", {"u": "b", "i": "a", "t": T - 999}, {"u": "b", "i": "m", "t": T - 999})
    jsonl(landing / "films" / "2.json", film("m", "New title"), film("b", "Never seen"))
    second = refresh(spark, landing)
    rows = {
        row["item_id"]: (row["item_index"], row["title"])
        for row in content(spark, job(landing, FILMS), ITEMS)
    }
    assert rows == {"z": (0, None), "m": (1, "New title"), "a": (2, None), "b": (3, "Never seen")}
    assert second.figures.items_new == 2
    assert second.figures.rejected_by_reason[SUPERSEDED] == 1


def test_events_and_items_after_the_split_move_no_item_known_before(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "x", "t": T})
    films = [film(name, name, out="2025-12-24") for name in ("f1", "f2")]
    jsonl(landing / "films" / "1.json", *films)
    jsonl(landing / "tags" / "1.json", {"id": "f1", "tag": "sky", "at": T})
    refresh(spark, landing)
    planted = landing.parent / "other" / "landing"
    for path in landing.rglob("*.json*"):
        jsonl(planted / path.relative_to(landing), *path.read_text().splitlines())
    late = T + 40 * 86_400
    jsonl(planted / "late.jsonl", {"u": "a", "i": "f2", "t": late}, {"u": "a", "i": "a", "t": late - 1})
    jsonl(planted / "films" / "2.json", film("b", "Planted", out="2026-02-02"))
    refresh(spark, planted)
    before, after = (
        {row["item_id"]: row["item_index"] for row in content(spark, job(folder, FILMS), ITEMS)}
        for folder in (landing, planted)
    )
    assert before == {"x": 0, "f1": 1, "f2": 2}
    assert after == before | {"a": 3, "b": 4}


def test_the_last_tag_of_an_item_can_be_taken_away(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "f1", "t": T}, {"u": "a", "i": "f2", "t": T})
    jsonl(landing / "films" / "1.json", film("f1", "Up", cast=["Ed"]), film("f2", "Heat", cast=["Al"]))
    tags = landing / "tags" / "1.json"
    jsonl(tags, {"id": "f1", "tag": "sky", "at": T}, {"id": "f2", "tag": "bank", "at": T})
    refresh(spark, landing)
    jsonl(tags, {"id": "f1", "tag": [], "at": T})
    refresh(spark, landing)
    found = {
        row["item_id"]: [tag["tag"] for tag in row["tags"]]
        for row in content(spark, job(landing, FILMS), ITEMS)
    }
    assert found == {"f1": [], "f2": ["bank"]}  # no line names f2 any more: it keeps its tags


def test_bad_item_lines_are_refused_and_stored(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "f1", "t": T})
    jsonl(
        landing / "films" / "1.json",
        film("f1", "First"),
        "{",
        film(None, "Nameless"),
        film("f2", "Soon", out="soon"),
        film("f3", "Far", out="9999-12-31"),
        film("f1", "Second"),
    )
    jsonl(landing / "tags" / "1.json", {"id": "f1", "tag": "ok", "at": "x"})
    (landing / "films" / "2.json").touch()
    measured = refresh(spark, landing).figures
    assert refresh(spark, landing).figures == replace(measured, items_new=0)
    assert (measured.rejected, measured.kept_without) == (4, 2)
    assert measured.empty_files == ("films/2.json",)
    assert {
        lines.kind: (lines.lines, lines.faulty, lines.without_a_field) for lines in measured.catalogue
    } == {
        "items": (6, 2, 2),
        "tags": (1, 1, 0),
        "edges": (6, 2, 0),
    }
    refused = content(spark, job(landing, FILMS), REJECTED_ITEMS)
    assert [
        (row["file_path"], row["line_number"], row["reason"]) for row in sorted(refused, key=lambda r: r[1:3])
    ] == [
        ("films/1.json", 1, SUPERSEDED),
        ("films/1.json", 2, "not valid JSON"),
        ("films/1.json", 3, "missing item"),
        ("films/1.json", 4, "kept without launched_at, which is not an instant"),
        ("films/1.json", 5, "kept without launched_at, which is not between 1800 and 2200"),
        ("tags/1.json", 1, "tagged_at is not an instant"),
    ]
    assert all(row["raw"] for row in refused)
    rows = {row["item_id"]: (row["title"], row["tags"]) for row in content(spark, job(landing, FILMS), ITEMS)}
    assert rows == {"f1": ("Second", []), "f2": ("Soon", []), "f3": ("Far", [])}


def test_a_log_without_item_files_still_has_items(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "x", "t": T})
    result = refresh(spark, landing, source())
    (row,) = content(spark, job(landing, source()), ITEMS)
    assert (row["item_id"], row["item_index"], row["tags"], row["edges"]) == ("x", 0, [], [])
    assert result.figures.rejected == 0


def test_a_mapping_that_names_an_absent_column_says_so(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "x", "t": T})
    jsonl(landing / "films.json", {"id": "x", "name": "Up"})
    wrong = source(items=(ItemMapping(files=("films.json",), format="jsonl", item="id", title="title"),))
    with pytest.raises(
        MappingError, match=r"items\.title = 'title' names column title.*columns are: id, name"
    ):
        refresh(spark, landing, wrong)


def test_a_catalogue_that_lost_the_column_of_its_items_is_an_unreadable_file(spark, landing):
    jsonl(landing / "log.jsonl", {"u": "a", "i": "x", "t": T})
    jsonl(landing / "films.json", {"id": "x", "name": "Up"})
    config = source(items=(ItemMapping(files=("films.json",), format="jsonl", item="id", title="name"),))
    refresh(spark, landing, config)
    jsonl(landing / "films.json", {"film": "x", "name": "Up"})
    result = refresh(spark, landing, config)
    (row,) = content(spark, job(landing, config), ITEMS)
    assert (row["title"], [counts.unreadable for counts in result.figures.catalogue]) == ("Up", [1])
    ((reason, _),) = result.figures.rejected_by_reason.items()
    assert reason.startswith("items.item = 'id' names column id, which this file does not have")
    jsonl(landing / "films.json", {"id": "x", "title": "Up"})
    with pytest.raises(MappingError, match="correct the expression, or land files with that column"):
        refresh(spark, landing, config)
