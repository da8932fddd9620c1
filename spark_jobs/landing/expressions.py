"""Mapping expressions: which columns they name, and their value on a row that may be bad.

In: the SQL text of a mapping and the columns of the landed files. Out: Spark columns. A mapping is
evaluated with ANSI off, so that a row on which it fails yields null, which the caller refuses with a
reason, and never stops the job.

Columns of text formats are text. An expression that compares one with a whole number would have
Spark cast the text to an int, and '3.5' > 3 would be false; such a column is read as a double in
that expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

_IMPLICIT_INTEGER = re.compile(r"cast\(([^()#]+)#\d+ as (?:int|smallint|tinyint)\)")
_TOKENS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|(?<![\w.])[A-Za-z_]\w*(?!\w|\s*\()")


class MappingError(ValueError):
    """A mapping that cannot be used on these files; the message says which and what there is."""


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def named_columns(spark: SparkSession, sql: str, label: str) -> list[tuple[str, ...]]:
    """The columns an expression names, each as its dotted parts. Raises MappingError when it is not SQL."""
    try:
        tree = spark._jsparkSession.sessionState().sqlParser().parseExpression(sql)
    except ParseException as error:
        reason = str(error).strip().splitlines()[0]
        raise MappingError(f"{label} = {sql!r} is not an SQL expression: {reason}") from None
    found: list[tuple[str, ...]] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        if node.getClass().getSimpleName() == "UnresolvedAttribute":
            parts = node.nameParts()
            found.append(tuple(parts.apply(index) for index in range(parts.size())))
        children = node.children()
        pending.extend(children.apply(index) for index in range(children.size()))
    return found


def evaluate(
    rows: DataFrame,
    expressions: dict[str, str],
    keep: list[str],
    labels: dict[str, str],
    text_columns: set[str],
) -> DataFrame:
    """`keep` and one column per expression, null where it fails on a row.

    `labels` names each expression for people (`events.user`). Raises MappingError when Spark cannot
    understand one, with the columns there are.
    """
    with lenient(rows.sparkSession):
        numbers: set[str] = set()
        rewritten: dict[str, str] = {}
        for name, sql in expressions.items():
            whole = _compared_with_integers(rows, sql, labels[name]) & text_columns
            numbers |= whole
            rewritten[name] = _as_numbers(sql, whole)
        widened = rows.withColumns(
            {_number(name): F.expr(f"try_cast({quoted(name)} AS double)") for name in sorted(numbers)}
        )
        return widened.select(*keep, *(F.expr(sql).alias(name) for name, sql in rewritten.items()))


@contextmanager
def lenient(spark: SparkSession) -> Iterator[None]:
    """Expressions analysed inside fail with null; the setting is fixed in a plan when it is analysed."""
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", "false")
    try:
        yield
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)


def _compared_with_integers(rows: DataFrame, sql: str, label: str) -> set[str]:
    try:
        plan = rows.select(F.expr(sql))._jdf.queryExecution().analyzed().expressions().mkString(" ")
    except AnalysisException as error:
        reason = str(error).strip().splitlines()[0]
        there = ", ".join(name for name in rows.columns if not name.startswith("__"))
        raise MappingError(f"{label} = {sql!r} cannot be used: {reason} The columns are: {there}") from None
    return set(_IMPLICIT_INTEGER.findall(plan))


def _number(name: str) -> str:
    return f"__number_{name}"


def _as_numbers(sql: str, names: set[str]) -> str:
    """The expression with these columns replaced by their double form; literals stay as they are."""
    lower = {name.lower(): name for name in names}

    def replaced(token: re.Match[str]) -> str:
        name = lower.get(token[0].strip("`").lower())
        return token[0] if name is None or token[0][0] in "'\"" else quoted(_number(name))

    return _TOKENS.sub(replaced, sql) if names else sql
