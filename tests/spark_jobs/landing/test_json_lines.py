"""JSON lines: which are objects, and how named fields come out as columns."""

from __future__ import annotations

import pytest

from spark_jobs.landing.files import find
from spark_jobs.landing.json_lines import json_lines, parsed_json
from tests.spark_jobs.landed import jsonl


def parsed(spark, landing, lines, *paths):
    """Rows of (problem, value…) of these lines in order, and the columns that are text."""
    jsonl(landing / "a.jsonl", *lines)
    group = json_lines(spark, find(spark, str(landing), ("a.jsonl",)))
    frame, text_columns = parsed_json(group.lines, set(paths), group.columns)
    return [tuple(row)[3:] for row in frame.orderBy("__line_number").collect()], text_columns


def test_the_keys_of_the_first_lines_are_the_columns(spark, landing):
    jsonl(landing / "a.jsonl", {"b": 1}, {"a": {"c": 1}}, "broken")
    group = json_lines(spark, find(spark, str(landing), ("a.jsonl",)))
    assert group.columns == ("a", "b") and list(group.counts.values()) == [3]


def test_values_are_text_unless_a_field_of_them_is_named(spark, landing):
    lines = [{"n": 1.5, "s": "x", "list": [1, {"y": 2}], "ctx": {"page": "home", "more": 1}}]
    rows, text = parsed(spark, landing, lines, ("n",), ("s",), ("list",), ("ctx",))
    assert rows == [(None, '{"page":"home","more":1}', '[1,{"y":2}]', "1.5", "x")]
    assert text == {"n", "s", "list", "ctx"}
    ((problem, context),), text = parsed(spark, landing, lines, ("ctx", "page"))
    assert (problem, context["page"], text) == (None, "home", set())


def test_a_key_may_differ_from_the_mapping_in_case(spark, landing):
    rows, _ = parsed(spark, landing, [{"User": "a"}], ("user",))
    assert rows == [(None, "a")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"u": "{}", "ctx": {"page": "}"}}, None),
        ('  {"u": "x"}  ', None),
        ('{"u": "x"', "not valid JSON"),
        ('{"u": "x"} {"u": "y"}', "not valid JSON"),
        ('{"u": "x"}, {}', "not valid JSON"),
        ("{'u': 'x'}", "not valid JSON"),
        ('{"u": NaN}', "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("", "empty line"),
        ({"u": "x", "ctx": 5}, "a nested field is not an object"),
    ],
)
def test_a_line_is_one_json_object_or_refused(spark, landing, line, problem):
    rows, _ = parsed(spark, landing, [line], ("u",), ("ctx", "page"))
    assert [row[0] for row in rows] == [problem]
