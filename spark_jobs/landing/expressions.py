"""SQL expressions of a mapping: which columns they name, and their values on rows that may be bad.

Expressions are evaluated with ANSI mode off: a row on which one fails yields null, which the caller
refuses with a reason, and does not stop the job.

Columns of text formats are text. In a comparison with a whole number Spark would cast the text to an int,
and '3.5' > 3 would be false; such a column is read as a double in that expression.
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
    """A mapping that does not fit the files; the message names the expression and the files' columns."""


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def named_columns(spark: SparkSession, sql: str, label: str) -> list[tuple[str, ...]]:
    """The columns that an expression names, each as its dotted parts. `label` names the expression in the
    MappingError that is raised when it is not SQL."""
    try:
        tree = spark._jsparkSession.sessionState().sqlParser().parseExpression(sql)
    except ParseException as error:
        reason = str(error).strip().splitlines()[0]
        raise MappingError(f"{label} = {sql!r} is not an SQL expression: {reason}") from None
    columns: list[tuple[str, ...]] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        if node.getClass().getSimpleName() == "UnresolvedAttribute":
            parts = node.nameParts()
            columns.append(tuple(parts.apply(index) for index in range(parts.size())))
        children = node.children()
        pending.extend(children.apply(index) for index in range(children.size()))
    return columns


def evaluate(
    rows: DataFrame,
    expressions: dict[str, str],
    keep: list[str],
    labels: dict[str, str],
    text_columns: set[str],
) -> DataFrame:
    """The columns in `keep` and one column per expression, null where it fails on a row. (A few functions of
    Spark fail in every mode, such as `element_at` with index 0; those stop the job.)

    `labels` gives each expression's name in messages (`events.user`). Columns in `text_columns` are read as
    numbers where they are compared with one. Raises MappingError when Spark cannot analyse an expression.
    """
    with lenient(rows.sparkSession):
        numbers: set[str] = set()
        rewritten: dict[str, str] = {}
        for name, sql in expressions.items():
            compared = _compared_with_integers(rows, sql, labels[name]) & text_columns
            numbers |= compared
            rewritten[name] = _as_numbers(sql, compared)
        widened = rows.withColumns(
            {_number(name): F.expr(f"try_cast({quoted(name)} AS double)") for name in sorted(numbers)}
        )
        return widened.select(*keep, *(F.expr(sql).alias(name) for name, sql in rewritten.items()))


@contextmanager
def lenient(spark: SparkSession) -> Iterator[None]:
    """Expressions analysed inside yield null where they fail; a plan keeps the mode it was analysed in."""
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", "false")
    try:
        yield
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)


def _compared_with_integers(rows: DataFrame, sql: str, label: str) -> set[str]:
    """Columns that Spark would cast to whole numbers in the expression."""
    try:
        plan = rows.select(F.expr(sql))._jdf.queryExecution().analyzed().expressions().mkString(" ")
    except AnalysisException as error:
        reason = str(error).strip().splitlines()[0]
        columns = ", ".join(name for name in rows.columns if not name.startswith("__"))
        raise MappingError(f"{label} = {sql!r} cannot be used: {reason} The columns are: {columns}") from None
    return set(_IMPLICIT_INTEGER.findall(plan))


def _number(name: str) -> str:
    return f"__number_{name}"


def _as_numbers(sql: str, names: set[str]) -> str:
    """The expression with these columns replaced by their double form; string literals stay."""
    lower = {name.lower(): name for name in names}

    def replaced(token: re.Match[str]) -> str:
        name = lower.get(token[0].strip("`").lower())
        return token[0] if name is None or token[0][0] in "'\"" else quoted(_number(name))

    return _TOKENS.sub(replaced, sql) if names else sql
