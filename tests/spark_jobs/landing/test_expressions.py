"""Mapping expressions: the columns they name, and values on rows where they fail."""

from __future__ import annotations

import re

import pytest

from spark_jobs.landing.expressions import (
    FAILED,
    MappingError,
    evaluate,
    lenient,
    named_columns,
    quoted,
    refuse_failing,
)


def values(spark, sql, rows="VALUES ('3.5', 7), ('x', 0), (null, 1)"):
    """The expression's values over columns `r`, text, and `n`, a number."""
    frame = spark.sql(f"SELECT * FROM {rows} AS t(r, n)").coalesce(1)
    answer = evaluate(frame, {"it": sql}, ["n"], {"it": "events.it"})
    assert answer.columns == ["n", "it", FAILED]
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


@pytest.mark.parametrize("sql", ["to_timestamp(r)", "cast(r AS timestamp)", "dateadd(day, 0, r)"])
def test_a_time_of_day_is_no_instant_of_today(spark, sql):
    rows = "VALUES ('12:30', 1), ('T12:30:01', 2), (' 9:05', 3), ('2026-03-01 12:30', 4)"
    assert [str(value) for value in values(spark, sql, rows)] == [*3 * ["None"], "2026-03-01 12:30:00"]


def test_the_environment_is_no_part_of_an_expression(spark):
    assert values(spark, "'${env:HOME}'")[0] == "${env:HOME}"


def test_a_cast_that_fails_instead_of_giving_null_refuses_its_line(spark):
    assert [
        str(value) for value in values(spark, "cast(r AS interval day)", "VALUES ('5', 1), ('x', 2)")
    ] == [
        "5 days, 0:00:00",
        "None",
    ]


def test_text_compared_with_a_whole_number_keeps_its_fraction(spark):
    assert values(spark, "CASE WHEN r > 3 THEN 'liked' ELSE 'seen' END") == ["liked", "seen", "seen"]
    assert values(spark, "r > 3") == [True, None, None]


LARGE = "VALUES ('1541815603606036480', 1), ('1541815603606036481', 0), ('0', 2), (' 7.0', 7)"
KEPT = ["1541815603606036480", "1541815603606036481"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("if(r > 0, r, null)", [*KEPT, None, " 7.0"]),
        ("nullif(r, 0)", [*KEPT, None, " 7.0"]),
        ("coalesce(nullif(r, 0), 'nobody')", [*KEPT, "nobody", " 7.0"]),
        ("case when r between 1 and 8 then r end", [None, None, None, " 7.0"]),
        ("case r when 7 then 'seven' else r end", [*KEPT, "0", "seven"]),
        ("if(r in (0, 7), null, r)", [*KEPT, None, None]),
        ("if(r in (7, '0'), null, r)", [*KEPT, None, None]),
        ("filter(array(r), x -> x != 0)[0]", [*KEPT, None, " 7.0"]),
        ("r = 1541815603606036481", [False, True, False, False]),
        ("r <=> n", [False, False, False, True]),
    ],
)
def test_text_compared_with_a_number_stays_text_to_its_last_digit(spark, sql, expected):
    assert values(spark, sql, rows=LARGE) == expected


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("uuid()", r"uuid\(\) gives another value on every run"),
        ("coalesce(r, cast(rand() as string))", r"rand\(\) gives another value"),
        ("if(now() > '2026', r, n)", r"now\(\) gives another value"),
        ("monotonically_increasing_id()", r"depends on where a line lies"),
        ("input_file_name()", r"input_file_name\(\) depends on where"),
        ("explode(array(r))", r"explode\(\) makes several rows of one line"),
        ("max(r)", r"max\(\) makes one row of several lines"),
        ("first(r)", r"first\(\), which makes one row of several lines"),
        ("row_number() over (order by n)", "a window function"),
        ("(select 1)", "a subquery"),
        ("n in (select 1)", "a subquery"),
        ("reflect('java.lang.System', 'getenv')", r"reflect\(\) is not on the list"),
        ("java_method('java.lang.System', 'getenv')", r"java_method\(\) is not on the list"),
        ("system.builtin.uuid()", r"system\.builtin\.uuid\(\) is not on the list"),
        ("`UUID`()", r"uuid\(\) gives"),
        ("transform(array(1), x -> x + rand())", r"rand\(\) gives"),
        ("identifier('uuid')()", "ExpressionWithUnresolvedIdentifier"),
        ("*", "several columns"),
        (":secret", "NamedParameter"),
        ("unix_timestamp()", r"unix_timestamp\(\) gives another value"),
        ("timestamp'now'", "another value on every run"),
        ("date 'today'", "another value on every run"),
        ("to_date('Yesterday')", "another value on every run"),
        ("cast(concat('to', 'day') AS date)", "another value on every run"),
        ("to_timestamp('12:30')", "another value on every run"),
        ("cast(r AS string COLLATE UNICODE_CI)", "it has a collation"),
        ("cast(r AS variant)", "its value is a variant"),
        ("repeat(r, n)", r"repeat\(\) needs a whole number up to 10,000"),
        ("repeat(repeat(r, 200), 200)", "more than 10,000 times its length"),
        ("repeat(concat(r, lpad(r, 9000)), 9000)", "more than 10,000 times its length"),
        ("array_join(array_repeat(repeat(r, 1000), 1000), '')", "more than 10,000 times its length"),
        ("replace(r, '0', replace(r, '1', repeat(repeat('x', 1000), 1000)))", "more than 10,000 times"),
        (
            "regexp_replace(regexp_replace(r, '.', repeat('ab', 200)), '.', repeat(r, 200))",
            "more than 10,000",
        ),
        (
            "aggregate(array_repeat(1, 99), r, (all, x) -> concat(all, all))",
            "more than 10,000 times its length",
        ),
        ("reduce(array(1), r, (all, x) -> all || ',' || all)", "more than 10,000 times its length"),
        ("lpad(r, 2147483647, 'x')", r"lpad\(\) needs a whole number"),
        ("format_string('%99999d', n)", r"format_string\(\) needs a pattern"),
        ("x -> x", "unresolved"),
        ("r:a", "VARIANT"),
        ("current_date", "no column current_date"),
        ("current_user", "no column current_user"),
    ],
)
def test_an_expression_is_a_function_of_its_line_alone(spark, sql, words):
    with pytest.raises(MappingError, match=rf"events\.it = .* cannot be used: .*{words}"):
        values(spark, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "concat(lpad(n, 20, '0'), lpad(n, 20, '0'), lpad(n, 20, '0'), lpad(n, 20, '0'))",
        "replace(replace(replace(replace(r, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '\\'', '&#39;')",
        "aggregate(array(r, n), '', (all, x) -> if(all = '', x, concat(all, '|', x)))",
        "aggregate(array('0', '1'), concat('x', r), (all, x) -> replace(all, x, ''))",
    ],
)
def test_an_expression_that_makes_little_more_of_a_line_may_be_used(spark, sql):
    assert any(values(spark, sql))


def test_a_row_on_which_an_expression_fails_is_marked(spark):
    frame = spark.sql("SELECT * FROM VALUES ('[a-z]', 1), ('(', 2) AS t(r, n)").coalesce(1)
    labels = {"it": "events.it", "other": "events.other"}
    rows = evaluate(frame, {"it": "regexp_extract('xy', r, 0)", "other": "r"}, ["n"], labels).collect()
    assert [tuple(row) for row in rows] == [(1, "x", "[a-z]", []), (2, None, "(", ["it"])]


@pytest.mark.parametrize(
    ("sql", "cause"),
    [
        ("to_timestamp(r, 'EEE MMM dd HH:mm:ss Z yyyy')", "EEE MMM dd"),
        ("regexp_extract(r, '(', 1)", r"regexp.* is invalid: '\('"),
        ("decode(cast(r AS binary), 'klingon')", "klingon"),
        ("parse_json(r)::string", "Malformed"),
    ],
)
def test_an_expression_that_always_fails_is_told_in_one_line(spark, sql, cause, capfd):
    frame = spark.sql("SELECT 'f' AS __file_id, 7L AS __line_number, 'x' AS r")
    with pytest.raises(MappingError) as told:
        refuse_failing(frame, {"it": sql}, {"it": "events.it"}, {"f": "log/a.csv"})
    assert re.fullmatch(
        rf"events\.it = .* cannot be used: it fails on log/a\.csv, line 7: .*{cause}.*", str(told.value)
    )
    assert "\n" not in str(told.value) and "at org.apache" not in capfd.readouterr().err


def test_an_expression_that_fails_on_some_rows_only_is_no_error(spark):
    frame = spark.sql("SELECT * FROM VALUES ('f', 1L, '('), ('f', 2L, 'x') AS t(__file_id, __line_number, r)")
    refuse_failing(frame, {"it": "regexp_extract('x', r, 0)"}, {"it": "events.it"}, {"f": "a.csv"})


def test_an_unknown_column_is_refused_with_those_there_are(spark):
    with pytest.raises(
        MappingError,
        match=r"events\.it = 'x \+ 1' cannot be used: there is no column x\. The columns are: r, n",
    ):
        values(spark, "x + 1")


def test_the_mode_is_restored_after_an_error(spark):
    before = spark.conf.get("spark.sql.ansi.enabled")
    with pytest.raises(RuntimeError), lenient(spark):
        assert spark.conf.get("spark.sql.ansi.enabled") == "false"
        raise RuntimeError
    assert spark.conf.get("spark.sql.ansi.enabled") == before
