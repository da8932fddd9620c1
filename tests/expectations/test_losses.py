"""A measure in words."""

from __future__ import annotations

from expectations.bounds import Bounds, Judged
from expectations.losses import Measure, is_set


def measure(**values) -> Measure:
    named = {"name": "n", "words": "w", "remedy": "r", "batch": "landed", "judged": (), "none": "nothing"}
    return Measure(**named | {"what": "excluded by where"} | values)


def test_a_share_says_of_how_many_and_where_and_a_count_says_where():
    share = Judged("a.jsonl", 400, 0.5, ceiling=0.25)
    assert measure().told(share) == "50.0\u00a0% of 400 lines excluded by where in a.jsonl"
    assert measure().allowed(share) == "at most 25.0\u00a0%"
    count = Judged("a.jsonl", 40, 40, floor=70, ceiling=9000)
    assert measure(of=None, what="lines").told(count) == "40 lines in a.jsonl"
    assert measure(of=None, what="lines").allowed(count) == "at least 70 and at most 9,000"


def test_either_bound_is_a_source_s_own():
    assert [is_set(bounds) for bounds in (Bounds(), Bounds(floor=0), Bounds(ceiling=1))] == [
        False,
        True,
        True,
    ]
