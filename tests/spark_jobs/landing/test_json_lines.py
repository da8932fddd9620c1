"""JSON lines: which are objects, and how named fields come out as columns."""

from __future__ import annotations

import pytest

from spark_jobs.landing.files import find
from spark_jobs.landing.json_lines import NOT_JSON, REPEATED_KEY, TOO_LONG, json_groups
from tests.spark_jobs.landed import jsonl, mapped, mapped_lines, source


def opened(spark, landing, name="a.jsonl"):
    """The group of one file."""
    (group,) = json_groups(spark, find(spark, str(landing), (name,)), {})
    return group


def parsed(spark, landing, lines, *paths):
    """Rows of (problem, value…) of these lines in order."""
    jsonl(landing / "a.jsonl", *lines)
    frame = opened(spark, landing).opened(set(paths))
    return [tuple(row)[3:] for row in frame.orderBy("__line_number").collect()]


def test_the_keys_of_the_first_lines_are_the_columns(spark, landing):
    jsonl(landing / "a.jsonl", {"b": 1}, {"a": {"c": 1}}, "broken")
    group = opened(spark, landing)
    assert group.columns == ("a", "b") and list(group.counts.values()) == [3]
    assert group.keys_among(["a", "c"]) == {"a"}


def test_values_are_text_unless_a_field_of_them_is_named(spark, landing):
    lines = [{"n": 1.5, "s": "x", "list": [1, {"y": 2}], "ctx": {"page": "home", "more": 1}}]
    rows = parsed(spark, landing, lines, ("n",), ("s",), ("list",), ("ctx",))
    assert rows == [(None, '{"page":"home","more":1}', '[1,{"y":2}]', "1.5", "x")]
    ((problem, context),) = parsed(spark, landing, lines, ("ctx", "page"))
    assert (problem, context["page"]) == (None, "home")


def test_a_key_may_differ_from_the_mapping_in_case(spark, landing):
    rows = parsed(spark, landing, [{"User": "a"}], ("user",))
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
        ('{"u": "x", "u": "y"}', "a key occurs twice in one JSON object"),
        ('{"u": "x", "ctx": {"page": 1, "page": 2}}', "a key occurs twice in one JSON object"),
        ('{"u": "x", "more": [{"a": 1, "a": 1}]}', "a key occurs twice in one JSON object"),
    ],
)
def test_a_line_is_one_json_object_or_refused(spark, landing, line, problem):
    rows = parsed(spark, landing, [line], ("u",), ("ctx", "page"))
    assert [row[0] for row in rows] == [problem]


def test_values_of_an_array_or_over_several_lines_are_records_and_a_torn_array_is_one_unreadable_file(
    spark, landing
):
    texts = {
        "line": '[{"u": "a", "n": {"x": 1}}, {"u": "b"},\r\n {"u": "c"}]',
        "lines": '[\n{"u": "a"}\n,\n{\n"u": "b"\n},\n{"u": "c"}\n]\n',
        "mark": '\ufeff  [{"u": "a"},{"u": "b"},{"u": "c"}]',
        "objects": '{\n  "u": "a"\n}\n{\n  "u": "b"\n}\n{"u": "c"}\n',
    }
    for name, text in texts.items():
        (landing / f"{name}.jsonl").write_text(text)
    (landing / "torn.jsonl").write_text('[{"u": "a"},\n{"u": ')
    jsonl(landing / "plain.jsonl", {"u": "d"})
    unreadable = {}
    files = find(spark, str(landing), ("*.jsonl",))
    names = {file.file_id: file.name for file in files}
    (group,) = json_groups(spark, files, unreadable)
    assert {names[file_id]: why for file_id, why in unreadable.items()} == {
        "torn.jsonl": "not valid JSON on line 2: Expecting value"
    }
    by_file = {}
    for row in group.opened({("u",)}).orderBy("__line_number").collect():
        by_file.setdefault(names[row["__file_id"]], []).append((row["__line_number"], row["u"]))
    values = [(1, "a"), (2, "b"), (3, "c")]
    assert by_file == {**{f"{name}.jsonl": values for name in texts}, "plain.jsonl": [(1, "d")]}
    assert {names[file_id]: count for file_id, count in group.counts.items()} == {
        name: len(rows) for name, rows in by_file.items()
    }


def test_keys_that_differ_in_case_are_told_apart(spark, landing):
    jsonl(landing / "a.jsonl", {"u": "a", "U": "b"})
    told = source(events={"item": "U", "time": "u"})
    assert [(row["user"], row["item"]) for row in mapped_lines(mapped(spark, landing, told))] == [("a", "b")]


def test_a_line_too_long_to_look_for_repeated_keys_says_so(spark, landing):
    lines = [{"u": 1, "pad": "x" * 21_000_000}, '{"u": 1, "u": 2}', {"u": 3}]
    assert parsed(spark, landing, lines, ("u",)) == [(TOO_LONG, "1"), (REPEATED_KEY, "2"), (None, "3")]


# A line that is no JSON object, as loggers and copies leave it, and why it is refused; the line after it is read.
LEFTOVERS = [
    (b'{"u": 1, "l": [{"a": 1, "a": 2}]}', REPEATED_KEY),
    (b'{"u": 1, "\\u0075": 2}', REPEATED_KEY),
    (b'{"u": 1, "c": {"d": {"e": 1, "e": 1}}}', REPEATED_KEY),
    (b'{"u": 1}{"u": 2}', NOT_JSON),
    (b'{"u": 1} {"u": 2}', NOT_JSON),
    (b'{"u": 1}\r{"u": 2}', NOT_JSON),
    (b'{"u": 007}', NOT_JSON),
    (b'{"u": 1,}', NOT_JSON),
    (b"{'u': 1}", NOT_JSON),
    (b"// a comment", NOT_JSON),
    (b"\0" * 64, NOT_JSON),
    (b"\0" * 64 + b'{"u": 1}', NOT_JSON),
    (b'\x1e{"u": 1}', NOT_JSON),
    (b'{"u": "Jos\xe9"}', "not valid UTF-8"),
    (b"null", "not a JSON object"),
    (b"[]", "not a JSON object"),
    (b"  ", "empty line"),
]


def test_what_loggers_and_copies_leave_is_refused_line_by_line(spark, landing):
    lines = [line for leftover, _ in LEFTOVERS for line in (leftover, b'  {"u": "good"}\t\r')]
    rows = parsed(spark, landing, [b'{"u": "first"}', *lines], ("u",))
    assert [problem for problem, _ in rows[1::2]] == [why for _, why in LEFTOVERS]
    assert {row for row in rows[2::2]} == {(None, "good")}
