"""Mapped lines: expressions over files, columns that may be absent, and lines that are excluded."""

from __future__ import annotations

import pytest

from spark_jobs.landing.expressions import MappingError
from spark_jobs.landing.files import find
from spark_jobs.landing.reading import EXCLUDED
from tests.spark_jobs.landed import jsonl, mapped, mapped_lines, source


def test_expressions_are_evaluated_on_every_line(spark, landing):
    jsonl(landing / "a.jsonl", {"u": "Ann", "i": "1", "t": 5, "ctx": {"p": "home"}}, {"u": "Bob"}, "broken")
    rows = mapped_lines(mapped(spark, landing, source(events={"user": "lower(u)", "page": "ctx.p"})))
    assert [(row["user"], row["page"], row["__problem"]) for row in rows] == [
        ("ann", "home", None),
        ("bob", None, None),
        (None, None, "not valid JSON"),
    ]


def test_a_line_for_which_where_is_not_true_is_excluded_unless_it_is_refused_already(spark, landing):
    jsonl(landing / "a.jsonl", {"u": "a", "k": "real"}, {"u": "b", "k": "test"}, {"u": "c"}, "broken")
    files = mapped(spark, landing, source(events={"item": "u", "time": "u", "where": "k <> 'test'"}))
    assert [row["__problem"] for row in mapped_lines(files)] == [None, EXCLUDED, EXCLUDED, "not valid JSON"]


def test_a_mapping_that_does_not_fit_is_refused_with_the_files_columns(spark, landing):
    jsonl(landing / "a.jsonl", {"u": "a", "i": "1", "t": 5})
    for wrong, message in (
        ({"user": "who"}, r"events\.user = 'who' names column who.*columns are: i, t, u"),
        ({"page": "upper(u"}, r"events\.page = 'upper\(u' is not an SQL expression"),
        ({"page": "uper(u)"}, r"events\.page = 'uper\(u\)' cannot be used"),
        ({"where": "kind = 1"}, r"events\.where = 'kind = 1' names column kind"),
    ):
        with pytest.raises(MappingError, match=message):
            mapped(spark, landing, source(events=wrong))


def test_a_column_that_may_be_absent_is_null_and_reported(spark, landing):
    jsonl(landing / "a.jsonl", {"u": "a", "i": "1", "t": 5})
    paged = source(events={"page": "where_seen", "country": "ctx.country"})
    files = mapped(spark, landing, paged, may_be_absent=frozenset({"page", "country"}))
    assert files.absent == ("ctx", "where_seen")
    (row,) = mapped_lines(files)
    assert (row["page"], row["country"], row["__problem"]) == (None, None, None)


def test_a_file_that_lacks_a_needed_column_is_unreadable_and_the_others_are_read(spark, landing):
    (landing / "1.csv").write_text("u,i,t,page\na,x,5,home\n")
    (landing / "2.csv").write_text("user_id,i,t\nb,x,5\n")
    csv = {"files": ("*.csv",), "format": "csv", "page": "page"}
    files = mapped(spark, landing, source(events=csv), may_be_absent=frozenset({"page"}))
    (why,) = files.unreadable.values()
    assert (
        "events.user = 'u' names column u, which this file does not have; its columns are: user_id, i, t"
        in why
    )
    assert [row["user"] for row in mapped_lines(files)] == ["a"]
    mended = mapped(spark, landing, source(events=csv | {"user": "coalesce(u, user_id)"}))
    assert sorted(row["user"] for row in mapped_lines(mended)) == ["a", "b"] and mended.unreadable == {}


def test_json_that_lacks_a_needed_key_on_every_line_is_unreadable(spark, landing, monkeypatch):
    monkeypatch.setattr("spark_jobs.landing.json_lines._FIRST_LINES", 1)
    good = {"u": "a", "i": "x", "t": 5, "kind": "real"}
    jsonl(landing / "1.jsonl", good, {"i": "x", "t": 5, "kind": "real"})
    jsonl(landing / "2-renamed.jsonl", *2 * [{"user": "b", "i": "x", "t": 5, "kind": "real"}])
    jsonl(landing / "3-late.jsonl", {"i": "x", "t": 5, "kind": "real"}, good)
    jsonl(landing / "4-where.jsonl", *2 * [{"u": "b", "i": "x", "t": 5, "type": "real"}])
    (landing / "5-array.jsonl").write_text('[{"who": "b", "i": "x", "t": 5, "kind": "real"}]')
    jsonl(landing / "6-no-json.jsonl", "broken", "broken")
    jsonl(landing / "u=folder" / "7.jsonl", {"i": "x", "t": 5, "kind": "real"})
    real = {"files": ("**",), "where": "kind = 'real'"}
    files = mapped(spark, landing, source(events=real))
    names = {file.file_id: file.name for file in find(spark, str(landing), ("**",))}
    why = {names[file_id]: reason for file_id, reason in files.unreadable.items()}
    assert sorted(why) == ["2-renamed.jsonl", "4-where.jsonl", "5-array.jsonl"]
    assert (
        "names column u, which this file does not have; its columns are: i, kind, t, user;"
        in why["2-renamed.jsonl"]
    )
    assert "events.where = \"kind = 'real'\" names column kind" in why["4-where.jsonl"]
    lines = {names[file_id]: count for file_id, count in files.line_counts.items()}
    assert (lines["1.jsonl"], lines["2-renamed.jsonl"], lines["6-no-json.jsonl"]) == (2, 1, 2)
    assert sorted(row["user"] for row in mapped_lines(files) if row["user"]) == ["a", "a", "folder"]
    provided = mapped(spark, landing, source(events=real | {"user": "coalesce(u, 'nobody')"}))
    assert [names[file_id] for file_id in provided.unreadable] == ["4-where.jsonl"]


def test_a_content_that_lies_twice_is_read_once(spark, landing):
    for name in ("a.jsonl", "b.jsonl"):
        jsonl(landing / name, {"u": "a", "i": "1", "t": 5}, {"u": "b", "i": "1", "t": 5})
    files = mapped(spark, landing, source())
    assert [row["__line_number"] for row in mapped_lines(files)] == [1, 2]
    assert list(files.line_counts.values()) == [2]


def test_a_where_that_is_no_condition_is_refused(spark, landing):
    jsonl(landing / "a.jsonl", {"u": "a", "i": "1", "t": 5})
    with pytest.raises(
        MappingError, match=r"events\.where = 'array\(u\)' is no condition: its value is array<string>"
    ):
        mapped(spark, landing, source(events={"where": "array(u)"}))


def test_a_key_beyond_the_sampled_lines_is_not_absent(spark, landing, monkeypatch):
    monkeypatch.setattr("spark_jobs.landing.json_lines._SAMPLED_LINES", 1)
    jsonl(landing / "a.jsonl", {"u": "a", "i": "1", "t": 5}, {"u": "b", "i": "1", "t": 5, "late": "x"})
    files = mapped(spark, landing, source(events={"page": "late"}))
    assert files.absent == ()
    assert [row["page"] for row in mapped_lines(files)] == [None, "x"]


def test_an_expression_that_is_a_columns_name_means_that_column(spark, landing):
    (landing / "a.csv").write_text("u,the item - or not,t\na,x,5\n")
    odd = source(events={"files": ("*.csv",), "format": "csv", "item": "the item - or not"})
    assert [row["item"] for row in mapped_lines(mapped(spark, landing, odd))] == ["x"]


def test_files_without_lines_have_no_parts(spark, landing):
    (landing / "empty.jsonl").write_bytes(b"")
    files = mapped(spark, landing, source())
    assert (files.parts, list(files.line_counts.values()), files.unreadable) == ([], [0], {})


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_folders_give_columns_unless_the_file_has_its_own(spark, landing, kind):
    for day, country in ((1, "own"), (2, None)):
        values = {"u": "a", "i": "1", "t": day, **({"country": country} if country else {})}
        path = landing / f"dt=2026-03-0{day}" / "country=NL" / f"x.{kind}"
        jsonl(path, values)
        if kind == "csv":
            path.write_text(f"{','.join(values)}\n{','.join(str(value) for value in values.values())}\n")
    events = {"files": (f"**/*.{kind}",), "format": kind, "country": "country", "page": "upper(dt)"}
    files = mapped(spark, landing, source(events=events))
    assert set(files.columns) == {"u", "i", "t", "country", "dt"}
    rows = {(row["time"], row["country"], row["page"]) for part in files.parts for row in part.collect()}
    assert rows == {("1", "own", "2026-03-01"), ("2", "NL", "2026-03-02")}


def test_many_long_names_of_columns_are_cut_in_a_message(spark, landing):
    (landing / "a.csv").write_text(",".join(f"{'x' * 100}{number}" for number in range(60)) + "\n" + "," * 59)
    with pytest.raises(MappingError, match="x… and 10 more; correct the expression") as refused:
        mapped(spark, landing, source(events={"files": ("*.csv",), "format": "csv"}))
    assert len(str(refused.value)) < 4000
