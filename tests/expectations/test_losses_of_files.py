"""New files beside earlier ones: what loses lines is found, and healthy uneven logs are not."""

from __future__ import annotations

import pytest

from expectations.bounds import Bounds, FirstBounds, LossBounds, NullBounds
from expectations.figures import Days, FileLines
from expectations.losses import Limits, Losses, Past
from expectations.losses_of_files import measures_of_files

NO_DAYS = Days((), ())


def landed(path, lines, lost=0, **values):
    """A file of 100 bytes a line, of which `lost` lines became no event; `values` say how."""
    known = {"size_bytes": 100 * lines, "repeats": 0, "nulls": {"country": 0}}
    return FileLines(**{"path": path, "lines": lines, "accepted": lines - lost} | known | values)


def judged(files, past=(), **bounds):
    """Names of the measures that do not hold, and why each other one is not judged."""
    limits = Limits(LossBounds(**bounds), 0.05, ("country",), "jsonl")
    measures = measures_of_files(limits, Losses(tuple(files), NO_DAYS, None, Past(tuple(past))))
    broken = {measure.name for measure in measures if not all(one.holds for one in measure.judged)}
    why_not = {measure.name: measure.judged[0].why_not for measure in measures if measure.judged}
    return broken, why_not


def daily(count, lines=400, **values):
    return [landed(f"d-{place}.jsonl", lines, **values) for place in range(count)]


@pytest.mark.parametrize(
    ("file", "broken"),
    [
        (landed("d-9.jsonl", 400), set()),
        (landed("d-9.jsonl", 40), {"lines_of_file"}),
        (landed("d-9.jsonl", 0), {"lines_of_file"}),
        (landed("d-9.jsonl", 400, nulls={"country": 400}), {"null_country_of_file"}),
        (landed("d-9.jsonl", 400, 200, excluded=200), {"excluded_lines_of_file"}),
        (landed("d-9.jsonl", 400, 400, excluded=400), {"excluded_lines_of_file", "events_of_file"}),
        (landed("d-8 again.jsonl", 400, 400, duplicates=400), {"duplicates_of_file", "events_of_file"}),
        (landed("d-9.jsonl", 800, repeats=400), {"repeats_of_file"}),
        (landed("d-9.jsonl", 400, 24, faulty=24), {"faulty_lines_of_file"}),
        (landed("d-9.jsonl", 400, 16, faulty=16), set()),
        (landed("d-9.jsonl", 400, size_bytes=400_000), {"bytes_per_event_of_file"}),
        (landed("d-9.jsonl", 400, 40, excluded=40), set()),
    ],
)  # fmt: skip
def test_a_file_is_judged_by_those_before_it(file, broken):
    assert judged([landed("d-10.jsonl", 400), file], daily(3))[0] == broken


def test_without_enough_of_a_past_only_what_holds_of_every_healthy_log_is_judged():
    broken, why_not = judged([landed("d-9.jsonl", 40, nulls={"country": 39})], daily(2))
    few = "fewer than 3 past files"
    assert broken == set()
    assert [
        why_not[name] for name in ("lines_of_file", "null_country_of_file", "excluded_lines_of_file")
    ] == [few] * 3
    whole = [landed("a.jsonl", 5), landed("b.jsonl", 5, 5, excluded=5)]
    assert judged(whole)[0] == {"excluded_lines_of_file", "events_of_file"}
    twice = [landed("a.jsonl", 50), landed("b.jsonl", 51, 50, duplicates=50)]
    assert judged(twice)[0] == {"duplicates_of_file"}
    assert judged([landed("a.jsonl", 600), landed("b.jsonl", 400, 400, faulty=400)])[0] == {
        "faulty_lines_of_file",
        "events_of_file",
    }
    assert judged([landed("a.jsonl", 60, repeats=30)])[0] == {"repeats_of_file"}


def test_a_column_that_is_empty_and_a_where_that_keeps_nothing_are_found_in_first_files_too():
    empty = [landed("a.jsonl", 40, nulls={"country": 40}), landed("b.jsonl", 4, nulls={"country": 4})]
    assert judged(empty)[0] == {"null_country_of_file"}
    assert judged([*empty, landed("c.jsonl", 40)])[0] == set()
    assert judged(empty, nulls=NullBounds(country=Bounds(ceiling=1.0)))[0] == set()
    nothing = [landed(name, 100, 100, excluded=100) for name in ("a.jsonl", "b.jsonl")]
    assert judged(nothing)[0] == {"excluded_lines_of_file"}
    assert judged(nothing, first=FirstBounds(all_excluded=1.0, excluded=1.0))[0] == set()


def test_what_an_earlier_release_did_not_record_is_not_judged():
    file = landed("d-9.jsonl", 400, nulls={}, repeats=None)
    broken, why_not = judged([file], daily(3))
    assert broken == set()
    assert why_not["null_country_of_file"] == why_not["repeats_of_file"] == "the files have no such lines"
    assert judged([landed("d-9.jsonl", 400)], daily(3, nulls={}, repeats=None))[0] == set()


def test_a_log_of_which_where_keeps_little_is_healthy():
    """One line of a hundred is kept, so that some small files lose all of theirs."""
    files = [landed(f"{place}.jsonl", 100, 99, excluded=99) for place in range(20)]
    assert judged([*files, landed("20.jsonl", 40, 40, excluded=40)])[0] == set()
    assert judged([landed("21.jsonl", 40, 40, excluded=40)], files)[0] == set()
    assert judged([landed("22.jsonl", 4000, 4000, excluded=4000)], files)[0] == {"events_of_file"}
    assert judged([landed("only.jsonl", 1000, 990, excluded=990)])[0] == set()


@pytest.mark.parametrize("lines", [[2, 50, 7, 1000], [1, 3, 2], [400, 5000, 90, 40_000]])
def test_tiny_and_uneven_files_raise_no_alarm(lines):
    past = [landed(f"d-{place}.jsonl", count) for place, count in enumerate(lines)]
    small = [
        landed("d-91.jsonl", 3, 1, excluded=1),
        landed("d-92.jsonl", 2, 1, faulty=1),
        landed("d-93.jsonl", 1),
    ]
    broken, _ = judged(small, past)
    assert broken <= {"lines_of_file"} and (not broken or min(lines) > 40)
    assert judged([landed("d-95.jsonl", 60_000)], past)[0] == set()


def test_files_of_one_kind_are_compared_where_there_are_enough():
    kinds = [landed(f"plays/{n}.jsonl", 4000) for n in range(3)] + [
        landed(f"likes/{n}.jsonl", 30, nulls={"country": 30}) for n in range(3)
    ]
    assert judged([landed("likes/4.jsonl", 30, nulls={"country": 30})], kinds)[0] == set()
    assert judged([landed("plays/4.jsonl", 400)], kinds)[0] == {"lines_of_file"}
    assert judged([landed("plays/4.jsonl", 4000, nulls={"country": 4000})], kinds)[0] == {
        "null_country_of_file"
    }
    # A kind without enough files is compared with all of the log.
    assert judged([landed("saves/1.jsonl", 40)], kinds)[0] == set()


def test_bounds_of_the_source_win_over_the_past():
    half = landed("d-9.jsonl", 400, 200, excluded=200)
    assert judged([half], daily(3), excluded=Bounds(ceiling=0.6))[0] == set()
    assert judged([half], excluded=Bounds(ceiling=0.4))[0] == {"excluded_lines_of_file"}
    small = landed("d-9.jsonl", 40, nulls={"country": 40})
    own = {"lines": Bounds(floor=10), "nulls": NullBounds(country=Bounds(ceiling=1.0))}
    assert judged([small], daily(3), **own)[0] == set()
    whole = landed("d-9.jsonl", 40)
    assert judged([whole], lines=Bounds(floor=100))[0] == {"lines_of_file"}
    assert judged([whole], bytes_per_event=Bounds(ceiling=10))[0] == {"bytes_per_event_of_file"}


def test_a_file_that_cannot_be_read_is_another_expectation_s():
    assert judged([landed("torn.jsonl", 1, 1, faulty=1, readable=False)], daily(3)) == (set(), {})
