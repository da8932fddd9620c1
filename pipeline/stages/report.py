"""Writes the cycle report, one self-contained page, and closes the cycle's run in the registry.

In: the records of the cycle's finished stages, and from the tables at their pinned versions the
refused lines, the lengths of histories and the growth of the vocabulary. Out: `cycle.html` in the
report folder and the figures of the cycle's run. A refused cycle has a report too. What the page
says is in `report_page`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from expectations.page import render
from expectations.tables import INGESTED_FILES, REJECTED_EVENTS, SEQUENCES, VOCABULARY, location
from model.evaluation.names import CANDIDATE, rung_name
from pipeline.cycle.lineage import lineage
from pipeline.cycle.records import StageContext, StageResult, write_atomically
from pipeline.registry import tracking
from pipeline.report import page as report_page
from pipeline.report.page import Headline, TableFacts
from pipeline.wording import megabytes, number, percent, seconds

PAGE = "cycle.html"
TEMPLATES = Path(__file__).resolve().parents[1] / "report" / "templates"
EXAMPLE_LINES = 3
"""Refused lines shown a reason."""
EXAMPLE_CHARACTERS = 300


def report(context: StageContext) -> StageResult:
    """The stage: writes the page and ends the cycle's runs with what the cycle came to."""
    facts = table_facts(context)
    origin = lineage(context)
    page = write_page(context, facts, origin)
    headline = report_page.headline(context.records)
    _close_runs(context, headline, origin, page)
    context.say(f"{headline.title}; {page}")
    return StageResult(figures={"outcome": headline.outcome, "title": headline.title, "page": page.name})


def write_page(context: StageContext, facts: TableFacts, origin: dict[str, Any]) -> Path:
    """Writes the page; returns its path."""
    cycle = context.cycle
    shown = report_page.values(cycle, context.config, context.records, facts, origin)
    shown |= {"percent": percent, "number": number, "seconds": seconds, "megabytes": megabytes}
    page = context.settings.report_folder(cycle.source, cycle.name) / PAGE
    write_atomically(page, render("cycle.html.j2", shown, TEMPLATES))
    return page


def table_facts(context: StageContext) -> TableFacts:
    """What is read from the tables; empty where the stage that writes one did not finish."""
    records = context.records
    return TableFacts(
        rejected_lines=rejected_lines(context) if "events" in records else {},
        history_lengths=history_lengths(context) if "sequences" in records else [],
        vocabulary_by_cycle=vocabulary_by_cycle(context) if "vocabulary" in records else [],
    )


def rejected_lines(context: StageContext) -> dict[str, list[tuple[str, int, str]]]:
    """Some refused lines of each reason, of the files that this cycle ingested."""
    ingested = _dataset(context, INGESTED_FILES.name)
    files = ingested.to_table(["file_id"], filter=pc.field("cycle") == context.cycle.name)["file_id"]
    if not len(files):
        return {}
    rejected = _dataset(context, REJECTED_EVENTS.name)
    of_cycle = pc.field("file_id").isin(files)
    reasons = pc.unique(rejected.to_table(["reason"], filter=of_cycle)["reason"]).to_pylist()
    found: dict[str, list[tuple[str, int, str]]] = {}
    for reason in sorted(reasons):
        wanted = of_cycle & (pc.field("reason") == reason)
        rows = rejected.head(
            EXAMPLE_LINES, columns=["file_path", "line_number", "raw"], filter=wanted
        ).to_pylist()
        found[reason] = [
            (row["file_path"], row["line_number"], row["raw"][:EXAMPLE_CHARACTERS]) for row in rows
        ]
    return found


def history_lengths(context: StageContext) -> list[tuple[str, int]]:
    """Users by number of events up to the split, in bins 1, 2–3, 4–7, 8–15 and so on."""
    end = pc.field("first_position") + pc.list_value_length(pc.field("item_index")).cast("int64")
    rows = _dataset(context, SEQUENCES.name).to_table(
        {"user_id": pc.field("user_id"), "events": end}, filter=pc.field("cycle") == context.cycle.name
    )
    lengths = rows.group_by("user_id").aggregate([("events", "max")])["events_max"]
    counts: dict[int, int] = {}
    for row in pc.value_counts(lengths).to_pylist():
        power = int(math.log2(row["values"]))
        counts[power] = counts.get(power, 0) + row["counts"]
    return [(_bin(power), counts.get(power, 0)) for power in range(max(counts, default=-1) + 1)]


def _bin(power: int) -> str:
    first, last = 2**power, 2 ** (power + 1) - 1
    return "1" if power == 0 else f"{first:,}–{last:,}"


def vocabulary_by_cycle(context: StageContext) -> list[tuple[str, int]]:
    """Rows of this cycle's vocabulary by the cycle that added them, oldest first."""
    rows = _dataset(context, VOCABULARY.name).to_table(
        ["added_in"], filter=pc.field("cycle") == context.cycle.name
    )
    counts = pc.value_counts(rows["added_in"]).to_pylist()
    return sorted((row["values"], row["counts"]) for row in counts)


def _dataset(context: StageContext, table: str) -> ds.Dataset:
    address = location(context.settings.lake, context.cycle.source, table)
    return DeltaTable(address, version=context.versions[table]).to_pyarrow_dataset()


def _close_runs(context: StageContext, headline: Headline, origin: dict[str, Any], page: Path) -> None:
    """Ends the run of every model of the cycle; the cycle's own carries the page and the lineage."""
    for stage in ("rung_1", "rung_2"):
        record = context.records.get(stage)
        if record is not None and "size" in record.figures:
            model = rung_name(record.figures["size"])
            tracking.log_figures(context, model, run_figures(record.figures))
            outcome = "refused" if record.refused else "passed"
            tracking.close_run(context, model, outcome, record.refused or "passed its gate")
    measured = context.records.get("evaluate")
    if measured is not None:
        tracking.log_figures(context, CANDIDATE, run_figures(measured.figures))
    tracking.tag_lineage(context, origin)
    words = " ".join((headline.title + ".", *headline.reasons))
    tracking.close_run(context, CANDIDATE, headline.outcome, words, [page])


def run_figures(figures: dict[str, Any]) -> dict[str, float]:
    """Figures of a run by name, to compare versions by: MRR by group where the gates read it, and all
    labels' measures at every condition. `mrr/all`, `mrr/task A`, `hit_rate_10/replay 48 h`."""
    rows = figures.get("metrics") or []
    if not rows:
        return {}
    first, model = rows[0], rows[0]["model"]
    found: dict[str, float | None] = {}
    for row in rows:
        judged = (row["protocol"], row["delay_hours"]) == (first["protocol"], first["delay_hours"])
        if judged:
            group = row["group"] if row["kind"] == "all" else f"{row['kind']} {row['group']}"
            name = f"mrr/{group}" if row["model"] == model else f"mrr of {row['model']}/{group}"
            found[name] = row["mrr"][0]
        if row["model"] == model and row["kind"] == "all":
            where = row["protocol"] if row["protocol"] == "cutoff" else f"replay {row['delay_hours']:g} h"
            measures = {
                name.replace("@", "_"): value[0] for name, value in row.items() if isinstance(value, list)
            }
            found |= {f"{name}/{where}": value for name, value in measures.items()}
    return {_metric_name(name): value for name, value in found.items() if value is not None}


def _metric_name(name: str) -> str:
    """Only what MLflow lets a metric be called."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)
