"""Judges Spark DataFrames by expectations, with Great Expectations as the engine.

From a table's batches (DataFrames by name) and its expectations to one `Judgement` per expectation. A
first pass computes only success or failure; a second pass looks for failing rows, for the failed
expectations only.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import great_expectations as gx
from great_expectations import expectations as gxe
from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
from great_expectations.core.batch import Batch
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.expectation import Expectation, Judgement, SuiteResult
from expectations.instants import iso

FAILING_KEYS_SHOWN = 20
"""Largest number of failing rows' keys in a judgement."""

SIDE_BY_SIDE = 2
"""Batches judged at a time: judging a small one is mostly planning, which uses one core."""

VALUES_SHOWN = 5
"""Largest number of unexpected values in `observed`."""


def judge(
    table: str,
    batches: Mapping[str, DataFrame],
    expectations: Sequence[Expectation],
    aggregates: Collection[str] = (),
) -> SuiteResult:
    """Judges every expectation of a table.

    Args:
        table: name of the table, for the report.
        batches: the rows to judge, by the names that the expectations use.
        expectations: in the order of the report.
        aggregates: batches that are small beside their inputs; they are cached while they are judged.

    Raises:
        ValueError: two expectations share a name, or one names an unknown batch.
    """
    _check(batches, expectations)
    started = time.monotonic()
    by_batch: dict[str, list[Expectation]] = defaultdict(list)
    judgements: dict[str, Judgement] = {}
    for expectation in expectations:
        if expectation.not_applicable is None:
            by_batch[expectation.batch].append(expectation)
        else:
            judgements[expectation.name] = Judgement(
                expectation, "not_applicable", message=expectation.not_applicable
            )
    context = _context()
    frames = {name: _with_comparisons(batches[name], members) for name, members in by_batch.items()}
    engine_batches = {name: _batch(context, f"{table}_{name}", frame) for name, frame in frames.items()}

    def judge_batch(name: str) -> tuple[dict[str, Any], dict[str, str]]:
        cached = frames[name].persist() if name in aggregates else None
        try:
            measured = _measured(frames[name], by_batch[name])
            return _judge_batch(engine_batches[name], by_batch[name]), measured
        finally:
            if cached is not None:
                cached.unpersist()

    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        answers = dict(zip(by_batch, threads.map(judge_batch, by_batch), strict=True))
    document = {name: results for name, (results, _) in answers.items()}
    for name, members in by_batch.items():
        results, measured = answers[name]
        judgements |= {
            member.name: _judgement(member, results[member.name], measured.get(member.name, ""))
            for member in members
        }
    ordered = tuple(judgements[expectation.name] for expectation in expectations)
    return SuiteResult(table, ordered, time.monotonic() - started, document)


def _check(batches: Mapping[str, DataFrame], expectations: Sequence[Expectation]) -> None:
    names = [expectation.name for expectation in expectations]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"expectation names must be unique; given twice: {', '.join(repeated)}")
    judged = [expectation for expectation in expectations if expectation.not_applicable is None]
    unknown = {expectation.batch for expectation in judged} - set(batches)
    if unknown:
        raise ValueError(f"unknown batches {sorted(unknown)}; the batches are {sorted(batches)}")


def _context() -> EphemeralDataContext:
    """Great Expectations' context in memory: no folder, no store, no progress bars, no report to its makers."""
    config = DataContextConfig(
        analytics_enabled=False,
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _with_comparisons(frame: DataFrame, members: Sequence[Expectation]) -> DataFrame:
    """Adds a boolean column for each comparison of two columns.

    The engine's own expectations on pairs of columns cost two Spark jobs each; boolean columns are all judged
    in one. Two nulls are equal; a null beside a value is a failure.
    """
    compared = {}
    for member in members:
        if member.kind in ("equal", "at_most") and {*member.columns} <= {*frame.columns}:
            left, right = (F.col(column) for column in member.columns)
            holds = left.eqNullSafe(right)
            if member.kind == "at_most":
                holds = holds | F.coalesce(left < right, F.lit(False))
            compared[_comparison(member)] = holds
    return frame.withColumns(compared) if compared else frame


def _comparison(expectation: Expectation) -> str:
    """Name of the boolean column of an `equal` or `at_most`."""
    left, right = expectation.columns
    return f"{left}_{'equals' if expectation.kind == 'equal' else 'at_most'}_{right}"


def _batch(context: EphemeralDataContext, name: str, frame: DataFrame) -> Batch:
    # persist=True would leave a cached copy of every judged DataFrame behind.
    source = context.data_sources.add_spark(name, persist=False)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    return definition.get_batch(batch_parameters={"dataframe": frame})


def _judge_batch(batch: Batch, members: Sequence[Expectation]) -> dict[str, Any]:
    """Great Expectations' results by expectation name, with failing rows for failed ones."""
    results = _validate(batch, members, {"result_format": "BOOLEAN_ONLY"})
    again: dict[tuple[str, ...], list[Expectation]] = defaultdict(list)
    for member in members:
        if not results[member.name].success and _exception(results[member.name]) is None:
            compared = member.columns if member.kind in ("equal", "at_most") else ()
            again[tuple(dict.fromkeys((*member.keys, *compared)))].append(member)
    for keys, failed in again.items():
        rows_wanted: dict[str, Any] = {
            "result_format": "SUMMARY",
            "partial_unexpected_count": FAILING_KEYS_SHOWN,
        }
        if keys:
            rows_wanted["unexpected_index_column_names"] = list(keys)
        results |= _validate(batch, failed, rows_wanted)
    return results


def _measured(frame: DataFrame, members: Sequence[Expectation]) -> dict[str, str]:
    """What is measured of a batch, by expectation that does not say it itself: the range of a column that is
    judged by its bounds, else the number of rows. One pass; empty where it fails, since the check fails too."""
    silent = [member for member in members if not member.observed]
    ranged = {
        member.columns[0]
        for member in silent
        if member.kind == "between" and member.columns[0] in frame.columns
    }
    if not silent:
        return {}
    ends = [end(column).alias(f"{end.__name__} {column}") for column in ranged for end in (F.min, F.max)]
    try:
        row = frame.agg(F.count(F.lit(1)).alias("rows"), *ends).first()
    except PySparkException:
        return {}
    count = f"{row['rows']:,} row{'' if row['rows'] == 1 else 's'}"
    measured = {}
    for member in silent:
        column = member.columns[0] if member.columns else ""
        if member.kind != "between" or column not in ranged:
            measured[member.name] = count
            continue
        low, high = (_plain(row[f"{end} {column}"], column) for end in ("min", "max"))
        spread = f"{_plain_text(low)} to {_plain_text(high)}" if low != high else _plain_text(low)
        measured[member.name] = f"no value in {count}" if low is None else f"{spread} in {count}"
    return measured


def _validate(batch: Batch, members: Sequence[Expectation], result_format: dict[str, Any]) -> dict[str, Any]:
    suite = ExpectationSuite(name=batch.id, expectations=[_translate(member) for member in members])
    # Named by our own metadata, so that the suite need not be saved in a store.
    result: ExpectationSuiteValidationResult = batch.validate(suite, result_format=result_format)
    return {answer.expectation_config.meta["name"]: answer for answer in result.results}


def _translate(expectation: Expectation) -> gxe.Expectation:
    """The engine's equivalent."""
    columns = expectation.columns
    about = {"meta": {"name": expectation.name}, "description": expectation.words}
    bounds = {"min_value": expectation.minimum, "max_value": expectation.maximum}
    match expectation.kind:
        case "not_null":
            return gxe.ExpectColumnValuesToNotBeNull(column=columns[0], **about)
        case "unique" if len(columns) == 1:
            return gxe.ExpectColumnValuesToBeUnique(column=columns[0], **about)
        case "unique":
            return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(columns), **about)
        case "between":
            return gxe.ExpectColumnValuesToBeBetween(column=columns[0], **bounds, **about)
        case "in_set":
            values = list(expectation.allowed_values)
            return gxe.ExpectColumnValuesToBeInSet(column=columns[0], value_set=values, **about)
        case "equal" | "at_most":
            return gxe.ExpectColumnValuesToBeInSet(column=_comparison(expectation), value_set=[True], **about)
        case "row_count":
            return gxe.ExpectTableRowCountToBeBetween(**bounds, **about)
    raise ValueError(f"kind {expectation.kind!r} is unknown")


def _judgement(expectation: Expectation, result: Any, measured: str) -> Judgement:
    crash = _exception(result)
    if crash is not None:
        return Judgement(expectation, "crashed", observed=expectation.observed, message=crash)
    if result.success:
        return Judgement(expectation, "passed", observed=expectation.observed or measured, failing_count=0)
    details = result.result
    keys = [_plain_row(row, expectation) for row in details.get("partial_unexpected_index_list") or ()]
    keys.sort(key=lambda row: [str(value) for value in row.values()])
    return Judgement(
        expectation,
        "failed",
        observed=expectation.observed or _observed(expectation, details, keys) or measured,
        failing_count=int(details.get("unexpected_count", 1)),
        keys=tuple(keys),
    )


def _exception(result: Any) -> str | None:
    """First line of the exception that a check raised; None when it raised none."""
    info = result.exception_info or {}
    # One exception is a flat dict, several (one per metric) are a dict of dicts.
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("raised_exception"):
            text = str(entry.get("exception_message") or "no message").strip()
            return text.splitlines()[0][:500] if text else "no message"
    return None


def _observed(expectation: Expectation, details: Mapping[str, Any], keys: Sequence[dict[str, Any]]) -> str:
    if "observed_value" in details:
        return f"{details['observed_value']:,}"
    values: Iterable[Any] = details.get("partial_unexpected_list") or ()
    if expectation.kind in ("equal", "at_most"):
        values = [tuple(row[column] for column in expectation.columns) for row in keys]
    elif len(expectation.columns) == 1:
        values = [_plain(value, expectation.columns[0]) for value in values]
    distinct = list(dict.fromkeys(_plain_text(value) for value in values))
    shown = ", ".join(distinct[:VALUES_SHOWN])
    return shown + (", …" if len(distinct) > VALUES_SHOWN else "")


def _plain_row(row: Mapping[str, Any], expectation: Expectation) -> dict[str, Any]:
    hidden = _comparison(expectation) if expectation.kind in ("equal", "at_most") else None
    return {name: _plain(value, name) for name, value in row.items() if name != hidden}


def _plain(value: Any, column: str = "") -> Any:
    """A JSON value; times in ISO form, including those in columns of microseconds (`…_us`)."""
    if column.endswith("_us") and isinstance(value, int):
        return iso(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _plain_text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " against ".join(_plain_text(part) for part in value)
    return "null" if value is None else str(_plain(value))
