"""The suite on items: sound numbering passes; each broken row is found and named."""

from __future__ import annotations

from datetime import UTC, datetime

from expectations.runner import judge
from expectations.suites import items as suite
from expectations.tables import EVENTS, ITEMS
from tests.expectations.suites.frames import failing, frame, names, outcomes

CATALOGUE = {kind: suite.Lines(20, 1) for kind in suite.KINDS}


WITHOUT_PARENT = dict.fromkeys(
    ("numbering_append_only", *(f"{name}_kept" for name in suite.SAID)), "not_applicable"
)


def item(name, index, **values):
    return {"item_id": name, "item_index": index, "tags": [], "edges": []} | values


def judged(spark, items, event_items, parent, catalogue=CATALOGUE):
    events = frame(spark, EVENTS, [{"item_id": name} for name in event_items])
    parent_items = frame(spark, ITEMS, parent) if parent is not None else None
    batches = suite.batches(frame(spark, ITEMS, items), events, parent_items, catalogue)
    expected = suite.expectations(parent is not None, catalogue, 0.05, max_lost_fraction=0.2)
    return judge("items", batches, expected, suite.AGGREGATES)


def test_a_sound_table_passes(spark):
    rows = [item("a", 0), item("b", 1, launched_at=datetime(1998, 1, 1, tzinfo=UTC)), item("c", 2)]
    assert outcomes(judged(spark, rows, ["a", "a", "c"], None)) == WITHOUT_PARENT


def test_each_broken_row_is_found(spark):
    rows = [
        item("a", 0),
        item("a", -1),
        item("b", 3),
        item("c", 3),
        item("d", 5, launched_at=datetime(9, 1, 1, tzinfo=UTC)),
    ]
    result = judged(spark, rows, ["a", "stranger"], parent=[item("a", 0), item("b", 1), item("gone", 2)])
    assert outcomes(result) == dict.fromkeys(
        (
            "item_id_unique",
            "item_index_unique",
            "launched_at_plausible",
            "numbering_dense",
            "events_have_items",
            "numbering_append_only",
        ),
        "failed",
    )
    of_catalogue = {"catalogue_files_readable", *(f"faulty_{kind}_few" for kind in suite.KINDS)}
    met = names(suite.expectations(True, CATALOGUE, 0.05, 0.2)) - set(outcomes(result))
    assert met == of_catalogue | {f"{name}_kept" for name in suite.SAID}
    assert failing(result, "item_id_unique") == [("a", -1), ("a", 0)]
    assert failing(result, "item_index_unique") == [("b", 3), ("c", 3)]
    assert failing(result, "numbering_dense") == [(5, 6)]
    assert failing(result, "events_have_items") == [("stranger", None)]
    # `a` is twice in the table, once with its old index: the other one fails.
    assert failing(result, "numbering_append_only") == [("a", 0, -1), ("b", 1, 3), ("gone", 2, -1)]


def test_catalogue_files_that_cannot_be_used_are_found(spark):
    catalogue = {
        "items": suite.Lines(24, 24),
        "tags": suite.Lines(100, 6, unreadable=1),
        "edges": suite.Lines(9, 1),
    }
    result = judged(spark, [item("a", 0)], ["a"], None, catalogue)
    assert (
        outcomes(result)
        == {
            "faulty_items_few": "failed",
            "catalogue_files_readable": "failed",
            "faulty_tags_few": "failed",
            "faulty_edges_few": "failed",
        }
        | WITHOUT_PARENT
    )
    told = {judgement.expectation.name: judgement.expectation.observed for judgement in result.judgements}
    assert told["faulty_items_few"] == "24 of 24 lines, 100.0%"
    assert outcomes(judged(spark, [item("a", 0)], ["a"], None, {})) == dict.fromkeys(
        (
            *(f"faulty_{kind}_few" for kind in suite.KINDS),
            "catalogue_files_readable",
            *WITHOUT_PARENT,
        ),
        "not_applicable",
    )


def test_what_a_catalogue_said_and_says_no_more_is_found(spark):
    said = {"title": "Up", "launched_at": datetime(2026, 1, 1, tzinfo=UTC)}
    said |= {"tags": [{"tag": "new", "tagged_at": None}], "edges": []}
    parent = [item(f"i{n}", n, **said) for n in range(10)]
    rows = [item(f"i{n}", n, **said | ({"title": None} if n < 2 else {})) for n in range(9)] + [item("i9", 9)]
    result = judged(spark, rows, ["i1"], parent)
    assert outcomes(result) == {"title_kept": "failed"}
    told = {judgement.expectation.name: judgement.expectation for judgement in result.red}
    assert "compare what the mapping names for title" in told["title_kept"].remedy
