"""SQL expressions of a configuration: what they may do, which columns they name, and their values on rows
that may be bad.

An expression may call the functions of `landing.functions` and nothing else: it is checked on Spark's own
parse tree, before a file is read. A row on which one fails yields null, is marked as failed, and does not
stop the job; an expression that fails on every row it is tried on is a MappingError.

Columns of text formats are text. Where text is compared with a number, the comparison reads it as one, exactly
(Spark would read an int, and '3.5' > 3 would be false); the column stays text everywhere else. Text that is a time of
day is no instant (Spark would make one of today).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import NamedTuple

from py4j.java_gateway import JavaObject, is_instance_of
from py4j.protocol import Py4JJavaError
from pyspark.errors import ParseException, PySparkException
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.classic.column import Column as ClassicColumn

from spark_jobs.lake.session import setting, silent
from spark_jobs.landing.functions import FUNCTIONS, why_refused
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER

LIST = "docs/mappings.md lists those that may be used"
FAILED = "__failed"
"""Column of `evaluate`: the names of the expressions that fail on the row, an array of strings."""
FAILS = "cannot be computed on this line"
"""Reason for refusing a line on which an expression fails; it follows the field's name."""
TRIED_LINES = 100
"""Rows on which an expression is tried before a file is read to its end."""

_EXPRESSIONS = "org.apache.spark.sql.catalyst.expressions."
_SAFE = frozenset(
    [
        "Alias",
        "And",
        "CaseWhen",
        "Cast",
        "Concat",
        "CreateNamedStruct",
        "Divide",
        "EqualNullSafe",
        "EqualTo",
        "GreaterThan",
        "GreaterThanOrEqual",
        "In",
        "IntegralDivide",
        "IsNotNull",
        "IsNull",
        "LessThan",
        "LessThanOrEqual",
        "Literal",
        "Not",
        "Or",
        "Remainder",
        "UnresolvedAttribute",
    ]
)
"""Nodes that never fail: where there is no value they give null."""
_SYNTAX = _SAFE | frozenset(
    [
        "Add",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "ILike",
        "LambdaFunction",
        "Like",
        "LikeAll",
        "LikeAny",
        "Multiply",
        "NotLikeAll",
        "NotLikeAny",
        "Overlay",
        "RLike",
        "SemiStructuredExtract",
        "ShiftLeft",
        "ShiftRight",
        "ShiftRightUnsigned",
        "StringLocate",
        "StringTrim",
        "StringTrimBoth",
        "StringTrimLeft",
        "StringTrimRight",
        "Substring",
        "Subtract",
        "TimestampAdd",
        "TimestampDiff",
        "UnaryMinus",
        "UnaryPositive",
        "UnresolvedExtractValue",
        "UnresolvedNamedLambdaVariable",
    ]
)
"""Nodes that Spark's parser makes of operators and of syntax of their own."""
_SAFE_FUNCTIONS = frozenset(
    [
        "between",
        "coalesce",
        "concat",
        "if",
        "ifnull",
        "isnotnull",
        "isnull",
        "lower",
        "nullif",
        "nvl",
        "nvl2",
        "trim",
        "upper",
    ]
)
_COMPARISONS = {
    "EqualTo": "=",
    "EqualNullSafe": "<=>",
    "GreaterThan": ">",
    "GreaterThanOrEqual": ">=",
    "LessThan": "<",
    "LessThanOrEqual": "<=",
}
_INSTANTS = ("date", "timestamp", "timestamp_ntz")
# Text that Spark casts to an instant by the clock: a constant by any of these words, a column's only as a time of day.
_CLOCK_WORD = re.compile(r"(now\b|today\b|tomorrow\b|yesterday\b|T?\d{1,2}:)", re.IGNORECASE)
_CLOCK_LITERAL = re.compile(rf"['\"]\s*{_CLOCK_WORD.pattern}", re.IGNORECASE)
_TIME_OF_DAY = "^[^0-9A-Za-z]*([tT]|[0-9]{1,2}:)"
_BY_THE_CLOCK = "'now', 'today', a time of day without its day and their like give another value on every run"
_COUNTS = {"repeat": 1, "array_repeat": 1, "lpad": 1, "rpad": 1}
"""Functions whose result may be of any size, and the argument that says which."""
_LARGEST_COUNT = 10_000
_LENGTHENING = frozenset(["concat", "concat_ws", "flatten", "array", "array_union", "repeat", "replace"])
"""Functions whose result may be longer than their arguments, within the merge of `aggregate`."""
# 20 digits before the point hold every whole number of 64 bits; what lies outside is compared as a double.
_EXACT = "DECIMAL(38, 18)"


class MappingError(ValueError):
    """A mapping that does not fit the files; the message names the expression and the files' columns."""


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def check_allowed(spark: SparkSession, expressions: dict[str, str], labels: dict[str, str]) -> None:
    """Raises MappingError for the first expression that is not SQL, or does what a mapping may not do. `labels`
    gives each expression's name in messages (`events.user`). Reads no file."""
    for name, sql in expressions.items():
        if forbidden := _parsed(spark, sql, labels[name]).forbidden:
            raise MappingError(f"{labels[name]} = {sql!r} cannot be used: {forbidden}; {LIST}")


def named_columns(spark: SparkSession, sql: str, label: str) -> list[tuple[str, ...]]:
    """The columns that an expression names, each as its dotted parts. `label` names the expression in the
    MappingError that is raised when it is not SQL."""
    return list(_parsed(spark, sql, label).columns)


def evaluate(
    rows: DataFrame, expressions: dict[str, str], keep: list[str], labels: dict[str, str]
) -> DataFrame:
    """The columns in `keep`, one column per expression, null where it fails on a row, and FAILED.

    `labels` gives each expression's name in messages. Raises MappingError when an expression does what it may
    not, names a column that `rows` lack, or cannot be analysed by Spark.
    """
    spark = rows.sparkSession
    check_allowed(spark, expressions, labels)
    with lenient(spark):
        values = {name: _compiled(rows, sql, labels[name]) for name, sql in expressions.items()}
        risky = [name for name, sql in expressions.items() if _parsed(spark, sql, labels[name]).may_fail]
        tried = {f"__tried_{name}": _tried(spark, values[name]) for name in risky}
        computed = rows.select(
            *keep, *(values[name].alias(name) for name in values if name not in risky),
            *(column.alias(name) for name, column in tried.items()),
        )  # fmt: skip
        failed = [F.when(F.col(f"__tried_{name}").isNull(), F.lit(name)) for name in risky]
        return computed.select(
            *keep,
            *(
                F.col(f"__tried_{name}.value" if name in risky else quoted(name)).alias(name)
                for name in values
            ),
            F.array_compact(F.array(*failed)).cast("array<string>").alias(FAILED),
        )


def refuse_failing(
    rows: DataFrame, expressions: dict[str, str], labels: dict[str, str], names: dict[str, str]
) -> None:
    """Raises MappingError for the first expression that fails on some of the first rows and has a value on none
    of them; its message has the file and line of the first failure, and the cause. `names` are file names by
    file_id. `rows` have FILE_ID and LINE_NUMBER."""
    spark = rows.sparkSession
    risky = {name: sql for name, sql in expressions.items() if _parsed(spark, sql, labels[name]).may_fail}
    if not risky:
        return
    place = (FILE_ID, LINE_NUMBER)
    head = rows.limit(TRIED_LINES)
    tried = evaluate(head, risky, [*place], labels)
    measures = []
    for name in risky:
        failure = F.when(F.array_contains(FAILED, name), F.struct(*place))
        measures += [F.count(quoted(name)).alias(f"known_{name}"), F.min(failure).alias(f"first_{name}")]
    try:
        with silent(spark):
            found = tried.agg(*measures).first()
    except (PySparkException, Py4JJavaError):
        # A constant that no row changes, as a pattern of times, fails before the first row is computed.
        first = head.select(*place).first()
        found = {f"known_{name}": 0 for name in risky} | {f"first_{name}": first for name in risky}
        if not any(_cause_of_failure(rows, first, sql, labels[name]) for name, sql in risky.items()):
            raise
    for name, sql in risky.items():
        first = found[f"first_{name}"]
        cause = (
            None
            if first is None or found[f"known_{name}"]
            else _cause_of_failure(rows, first, sql, labels[name])
        )
        if cause:
            where = f"{names.get(first[FILE_ID], first[FILE_ID])}, line {first[LINE_NUMBER]}"
            raise MappingError(f"{labels[name]} = {sql!r} cannot be used: it fails on {where}: {cause}")


def lenient(spark: SparkSession) -> AbstractContextManager[None]:
    """Expressions analysed inside yield null where they fail."""
    return setting(spark, "spark.sql.ansi.enabled", "false")


# --- what an expression may do --------------------------------------------------------------------


class _Parsed(NamedTuple):
    """What an expression's text says of it."""

    columns: tuple[tuple[str, ...], ...]
    """Columns that it names, as dotted parts."""
    forbidden: str
    """What a mapping may not do and it does; empty where there is nothing."""
    may_fail: bool
    """Whether a line may make it fail."""
    is_plain: bool
    """Whether it neither compares nor converts values."""


@lru_cache(maxsize=512)
def _read(spark: SparkSession, sql: str) -> _Parsed:
    """Walks the parse tree once: every step is a call into the JVM. Raises ParseException."""
    columns, functions, kinds, forbidden = [], set(), set(), ""
    for node in _nodes(_tree(spark, sql)):
        kind = _kind(node)
        if kind == "UnresolvedFunction":
            name = ".".join(_parts(node.nameParts())).lower()
            functions.add(name)
            if name not in FUNCTIONS:
                forbidden = forbidden or f"{name}() {why_refused(name, _is_aggregate(spark, name))}"
            forbidden = forbidden or _misused(name, node)
        elif kind == "UnresolvedAttribute":
            columns.append(_parts(node.nameParts()))
        elif kind not in _SYNTAX:
            forbidden = forbidden or f"it has {_named(spark, node)}"
        elif kind == "Cast":
            target = node.dataType().simpleString()
            if "collate" in target:
                forbidden = forbidden or "it has a collation"
            if "interval" in target:
                kind = "CastToInterval"  # it fails where other casts give null
        elif kind == "Literal" and _type(node) in _INSTANTS and _CLOCK_LITERAL.search(sql):
            forbidden = forbidden or _BY_THE_CLOCK
        kinds.add(kind)
    kinds.discard("UnresolvedFunction")
    may_grow = not forbidden and functions & {*_COUNTS, "replace", "regexp_replace", "aggregate", "reduce"}
    if may_grow and _growth(_tree(spark, sql)) > _LARGEST_COUNT:
        forbidden = f"it may make a value of more than {_LARGEST_COUNT:,} times its length"
    return _Parsed(
        tuple(columns),
        forbidden,
        may_fail=not (kinds <= _SAFE and functions <= _SAFE_FUNCTIONS),
        is_plain=not functions and kinds <= {"UnresolvedAttribute", "Literal", "Alias"},
    )


def _misused(name: str, call: JavaObject) -> str:
    """Why a call of an allowed function is not, as the end of a sentence; empty where it is."""
    arguments = _children(call)
    if name == "unix_timestamp" and not arguments:
        return f"{name}() {why_refused('now', False)}"
    place = _COUNTS.get(name)
    if place is not None and len(arguments) > place:
        count = arguments[place]
        is_small = _kind(count) == "Literal" and _type(count) == "int" and count.value() <= _LARGEST_COUNT
        if not is_small:
            return f"{name}() needs a whole number up to {_LARGEST_COUNT:,}, not an expression, as its length or count"
    if name in ("format_string", "printf") and arguments:
        pattern = str(arguments[0].value()) if _kind(arguments[0]) == "Literal" else None
        if pattern is None or re.search(r"%[^a-zA-Z%]*\d{5}", pattern):
            return f"{name}() needs a pattern in quotes, with widths below 10,000"
    return ""


def _growth(node: JavaObject) -> float:
    """How many times the length of a column's value the result may have, roughly; functions within one another multiply."""
    children = _children(node)
    inside = [_growth(child) for child in children]
    most = max(inside, default=1)
    if _kind(node) != "UnresolvedFunction":
        return most
    name = ".".join(_parts(node.nameParts())).lower()
    place = _COUNTS.get(name)
    if place is not None and len(children) > place:
        count = max(1, children[place].value())
        # A pad is as long as its number says, whatever it pads.
        return inside[0] * count if name.endswith("repeat") else max(most, count)
    if name in ("replace", "regexp_replace") and len(children) > 2:
        found, new = children[1:3]
        ratio = len(str(new.value())) if _kind(new) == "Literal" else 1
        if name == "replace" and _kind(found) == "Literal":
            ratio /= max(1, len(str(found.value())))
        return inside[0] * max(1, ratio, inside[2])
    if name in ("aggregate", "reduce") and len(children) > 2 and _doubles(children[2]):
        return float("inf")
    return most


def _doubles(merge: JavaObject) -> bool:
    """Whether the merge of `aggregate` makes what it has gathered longer by itself, so that it grows with every entry."""
    if _kind(merge) != "LambdaFunction":
        return False
    gathered = _children(merge)[1]
    for node in _nodes(_children(merge)[0]):
        name = ".".join(_parts(node.nameParts())).lower() if _kind(node) == "UnresolvedFunction" else ""
        if name in _LENGTHENING or _kind(node) == "Concat":
            own = [each for each in _nodes(node) if _kind(each) == "UnresolvedNamedLambdaVariable"]
            uses = sum(_parts(each.nameParts()) == _parts(gathered.nameParts()) for each in own)
            if uses > 1 or (uses and _growth(node) > 1):
                return True
    return False


def _reads_the_clock(spark: SparkSession, node: JavaObject) -> bool:
    """Whether an analysed tree casts a constant such as 'now' or 'today' to a time."""
    for each in _nodes(node):
        if _is_replaceable(spark, each):
            if _reads_the_clock(spark, each.replacement()):
                return True
        elif _kind(each) == "Cast" and _type(each) in _INSTANTS:
            text = each.child()
            is_constant = text.foldable() and _type(text) == "string"
            if is_constant and _CLOCK_WORD.match(str(text.eval(None)).strip()):
                return True
    return False


def _parsed(spark: SparkSession, sql: str, label: str) -> _Parsed:
    try:
        return _read(spark, sql)
    except ParseException as error:
        raise MappingError(f"{label} = {sql!r} is not an SQL expression: {_words(error)}") from None


def _tree(spark: SparkSession, sql: str) -> JavaObject:
    return spark._jsparkSession.sessionState().sqlParser().parseExpression(sql)


def _named(spark: SparkSession, node: JavaObject) -> str:
    """What a node that a mapping may not have is, for people."""

    def is_a(name: str) -> bool:
        return is_instance_of(spark.sparkContext._gateway, node, name)

    if is_a(_EXPRESSIONS + "SubqueryExpression") or _kind(node) == "InSubquery":
        return "a subquery"
    if _kind(node) in ("WindowExpression", "UnresolvedWindowExpression"):
        return "a window function (OVER)"
    if _kind(node) == "AggregateExpression":
        return f"{node.aggregateFunction().prettyName()}(), which makes one row of several lines"
    if _kind(node) in ("UnresolvedStar", "UnresolvedRegex"):
        return "*, which is several columns"
    return f"{_kind(node)}, which a mapping may not use"


def _is_aggregate(spark: SparkSession, name: str) -> bool:
    package = spark._jvm.org.apache.spark.sql.catalyst
    registry = package.analysis.FunctionRegistry.builtin()
    found = registry.lookupFunction(package.FunctionIdentifier(name))
    return found.isDefined() and found.get().getGroup() in ("agg_funcs", "window_funcs")


# --- compiling ------------------------------------------------------------------------------------


def _compiled(rows: DataFrame, sql: str, label: str) -> Column:
    """The expression as a column of `rows`, text compared with numbers exactly."""
    there = {name.lower() for name in rows.columns}
    columns = ", ".join(name for name in rows.columns if not name.startswith("__"))
    parsed = _parsed(rows.sparkSession, sql, label)
    for parts in parsed.columns:
        # Spark would take a name that is no column for a function, as current_date.
        if parts[0].lower() not in there:
            raise MappingError(
                f"{label} = {sql!r} cannot be used: there is no column {parts[0]}. The columns are: {columns}"
            )
    try:
        column = F.expr(sql)
        plan = rows.select(column)._jdf.queryExecution().analyzed()
        if _reads_the_clock(rows.sparkSession, plan.expressions().apply(0)):
            raise MappingError(f"{label} = {sql!r} cannot be used: {_BY_THE_CLOCK}; {LIST}")
        if plan.schema().apply(0).dataType().typeName() == "variant":
            raise MappingError(
                f"{label} = {sql!r} cannot be used: its value is a variant; cast it to a type, as in ::string"
            )
        if parsed.is_plain:
            return column
        tree = plan.expressions().apply(0)
        exact = _exact(rows.sparkSession, tree.child() if _kind(tree) == "Alias" else tree)
        if exact is not None:
            column = _column(rows.sparkSession, exact)
            rows.select(column)
    except (PySparkException, Py4JJavaError) as error:
        raise MappingError(
            f"{label} = {sql!r} cannot be used: {_words(error)} The columns are: {columns}"
        ) from None
    return column


def _exact(spark: SparkSession, node: JavaObject) -> JavaObject | None:
    """The analysed tree with every comparison of text and number made exact, and no text that is a time of day made
    an instant of today; None where there is nothing to change."""
    if _is_replaceable(spark, node):
        return _exact(spark, node.replacement())
    children = _children(node)
    below = [_exact(spark, child) for child in children]
    changed = any(child is not None for child in below)
    children = [old if new is None else new for old, new in zip(children, below, strict=True)]
    kind = _kind(node)
    if kind in _COMPARISONS and (pair := _text_and_number(*children)):
        return _comparison(spark, _COMPARISONS[kind], *pair)
    if kind == "In":
        value, options = _uncast(children[0]), children[1:]
        numbers = [_type(value) == "string" and _is_number(_uncast(option)) for option in options]
        if any(numbers):
            each = [
                _comparison(spark, "=", value, _uncast(option))
                if is_number
                else _filled(spark, "__a = __b", {"__a": value, "__b": option})
                for option, is_number in zip(options, numbers, strict=True)
            ]
            names = {f"__{number}": one for number, one in enumerate(each)}
            return _filled(spark, " OR ".join(quoted(name) for name in names), names)
    node = node.withNewChildren(_scala(spark, children)) if changed else node
    if kind == "Cast" and _type(node).startswith("timestamp") and _type(children[0]) == "string":
        dated = f"IF(__text RLIKE '{_TIME_OF_DAY}', NULL, __cast)"
        return _filled(spark, dated, {"__text": children[0], "__cast": node})
    return node if changed else None


def _is_replaceable(spark: SparkSession, node: JavaObject) -> bool:
    """Whether the node is another expression in other words, as to_date() is a cast."""
    return is_instance_of(spark.sparkContext._gateway, node, _EXPRESSIONS + "RuntimeReplaceable")


def _text_and_number(left: JavaObject, right: JavaObject) -> tuple[JavaObject, JavaObject] | None:
    """Both sides without the casts that Spark put around them, where one is text and one an exact number."""
    left, right = _uncast(left), _uncast(right)
    for text, number in ((left, right), (right, left)):
        if _type(text) == "string" and _is_number(number):
            return left, right
    return None


def _comparison(spark: SparkSession, operator: str, left: JavaObject, right: JavaObject) -> JavaObject:
    """left operator right, both as exact decimals, or as doubles where one side is too large for that."""
    exact = f"try_cast(__a AS {_EXACT}) {operator} try_cast(__b AS {_EXACT})"
    rough = f"try_cast(__a AS DOUBLE) {operator} try_cast(__b AS DOUBLE)"
    fits = f"try_cast(__a AS {_EXACT}) IS NOT NULL AND try_cast(__b AS {_EXACT}) IS NOT NULL"
    return _filled(spark, f"IF({fits}, {exact}, {rough})", {"__a": left, "__b": right})


def _filled(spark: SparkSession, sql: str, values: dict[str, JavaObject]) -> JavaObject:
    """The tree of `sql` with the columns in `values` replaced by trees."""

    def filled(node: JavaObject) -> JavaObject:
        if _kind(node) == "UnresolvedAttribute":
            return values[node.name()]
        children = _children(node)
        return (
            node.withNewChildren(_scala(spark, [filled(child) for child in children])) if children else node
        )

    return filled(_tree(spark, sql))


def _uncast(node: JavaObject) -> JavaObject:
    """The node without the casts that Spark added; a cast that the expression asks for stays."""
    while _kind(node) == "Cast" and not node.getTagValue(node.USER_SPECIFIED_CAST()).isDefined():
        node = node.child()
    return node


def _type(node: JavaObject) -> str:
    return node.dataType().simpleString() if node.resolved() else ""


def _is_number(node: JavaObject) -> bool:
    """Whether the value is a number that decimals hold exactly."""
    return _type(node).split("(")[0] in ("tinyint", "smallint", "int", "bigint", "decimal")


def _tried(spark: SparkSession, value: Column) -> Column:
    """A struct with the field `value`; null where the expression fails."""
    inside = F.struct(value.alias("value"))
    expression = spark._jvm.org.apache.spark.sql.classic.ExpressionUtils.expression(inside._jc)
    return _column(spark, spark._jvm.org.apache.spark.sql.catalyst.expressions.TryEval(expression))


def _cause_of_failure(rows: DataFrame, place: Row, sql: str, label: str) -> str | None:
    """What Spark says when it evaluates the expression on the row at `place`; None when it can."""
    row = rows.where((F.col(FILE_ID) == place[FILE_ID]) & (F.col(LINE_NUMBER) == place[LINE_NUMBER]))
    try:
        with lenient(row.sparkSession), silent(row.sparkSession):
            row.select(_compiled(row, sql, label)).collect()
    except (PySparkException, Py4JJavaError) as error:
        return _words(error)
    return None


# --- trees of the JVM -----------------------------------------------------------------------------


def _nodes(tree: JavaObject) -> Iterator[JavaObject]:
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        if _kind(node) == "WindowExpression":
            continue
        pending.extend(reversed(_children(node)))


def _children(node: JavaObject) -> list[JavaObject]:
    children = node.children()
    return [children.apply(index) for index in range(children.size())]


def _parts(names: JavaObject) -> tuple[str, ...]:
    return tuple(names.apply(index) for index in range(names.size()))


def _kind(node: JavaObject) -> str:
    return node.getClass().getSimpleName()


def _scala(spark: SparkSession, nodes: Iterable[JavaObject]) -> JavaObject:
    return spark._jvm.PythonUtils.toSeq(list(nodes))


def _column(spark: SparkSession, tree: JavaObject) -> Column:
    return ClassicColumn(spark._jvm.org.apache.spark.sql.classic.ExpressionUtils.column(tree))


def _words(error: Exception) -> str:
    """The sentences of Spark's message that say what is wrong, on one line."""
    text = str(error.java_exception if isinstance(error, Py4JJavaError) else error).strip()
    lines = [line.strip() for line in text.splitlines()]
    lines = [
        line for line in lines if line and not re.match(r"(at |JVM stacktrace|== |\d+\) You can|\^)", line)
    ]
    words = " ".join(lines[:3])
    words = re.sub(r"You may get a different result due to the upgrading to Spark >= 3\.0:\s*", "", words)
    words = re.sub(
        r"^([\w.$]*(Exception|Error): )?Job aborted due to stage failure: .*?executor [\w.]+\): ", "", words
    )
    words = re.sub(r"^[\w.$]*(Exception|Error): ", "", words)
    words = re.sub(r"\.?; line \d+ pos \d+.*$", ".", words)
    words = re.sub(r"\s*SQLSTATE: \w+|\s*Driver stacktrace:.*$", "", words)
    return words[:300]
