"""Mapping expressions: the columns they name, and values on rows where they fail."""

from __future__ import annotations

import pytest

from spark_jobs.landing.expressions import MappingError, evaluate, lenient, named_columns, quoted


def values(spark, sql, text_columns=frozenset(), rows="VALUES ('3.5', 7), ('x', 0), (null, 1)"):
    """The expression's values over columns `r`, text, and `n`, a number."""
    frame = spark.sql(f"SELECT * FROM {rows} AS t(r, n)").coalesce(1)
    answer = evaluate(frame, {"it": sql}, ["n"], {"it": "events.it"}, set(text_columns))
    assert answer.columns == ["n", "it"]
    return [row["it"] for row in answer.collect()]


def test_a_name_is_quoted_for_sql(spark):
    assert quoted("a`b") == "`a``b`"
    assert spark.sql("SELECT 1 AS `a``b`").select(quoted("a`b")).first()[0] == 1


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("u", {("u",)}),
        ("coalesce(ctx.page, `odd name`, 'literal')", {("ctx", "page"), ("odd name",)}),
        ("upper(tags)", {("tags",)}),
        ("1", set()),
    ],
)
def test_named_columns_are_dotted_parts(spark, sql, columns):
    assert set(named_columns(spark, sql, "events.u")) == columns


def test_text_that_is_not_sql_is_refused(spark):
    with pytest.raises(MappingError, match=r"events\.u = 'upper\(' is not an SQL expression"):
        named_columns(spark, "upper(", "events.u")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("10 div n", [1, None, 10]),
        ("cast(r AS double)", [3.5, None, None]),
        ("cast(r AS date)", [None, None, None]),
    ],
)
def test_an_expression_is_null_on_rows_where_it_fails(spark, sql, expected):
    assert values(spark, sql) == expected


def test_text_compared_with_a_whole_number_keeps_its_fraction(spark):
    assert values(spark, "CASE WHEN r > 3 THEN 'liked' ELSE 'seen' END", {"r"}) == ["liked", "seen", "seen"]
    assert values(spark, "r > 3", {"r"}) == [True, None, None]
    # Only columns are rewritten: the literal 'r' stays.
    assert values(spark, "if(r > 3, 'r', \"r\")", {"r"}) == ["r", "r", "r"]


def test_an_unknown_column_is_refused_with_those_there_are(spark):
    with pytest.raises(MappingError, match=r"events\.it = 'x \+ 1' cannot be used: .* The columns are: r, n"):
        values(spark, "x + 1")


def test_the_mode_is_restored_after_an_error(spark):
    before = spark.conf.get("spark.sql.ansi.enabled")
    with pytest.raises(RuntimeError), lenient(spark):
        assert spark.conf.get("spark.sql.ansi.enabled") == "false"
        raise RuntimeError
    assert spark.conf.get("spark.sql.ansi.enabled") == before
