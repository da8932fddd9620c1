"""What the cycle report says: the records of a cycle as headline, tables and figures.

In: the cycle, its finished stages' records, and a few facts read from tables. Out: the values of
the template `cycle.html.j2`. A part whose stage did not run is None, and the page says so. It reads
no table and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.config import Config
from pipeline.cycle.definition import Cycle
from pipeline.cycle.records import StageRecord
from pipeline.report import charts as figures
from pipeline.report.quality import Records, delays, measured_stage, quality, standing
from pipeline.workflows.refresh_cycle import STAGES


@dataclass(frozen=True)
class TableFacts:
    """What the report reads from the tables themselves."""

    rejected_lines: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)
    """Example lines by reason: file, line number, text."""
    history_lengths: list[tuple[str, int]] = field(default_factory=list)
    """Users by number of events up to the split: name of the bin and users."""
    vocabulary_by_cycle: list[tuple[str, int]] = field(default_factory=list)
    """Rows of the ID table by the cycle that added them."""


@dataclass(frozen=True)
class Headline:
    """What the cycle came to."""

    outcome: str
    """`accepted`, `refused` or `unfinished`."""
    title: str
    reasons: tuple[str, ...] = ()
    """Sentences: why, what was saved, what it beats and loses to."""

    @property
    def tone(self) -> str:
        """Class of the style sheet."""
        return {"accepted": "pass", "refused": "fail"}.get(self.outcome, "doubt")


def values(
    cycle: Cycle, config: Config, records: Records, facts: TableFacts, lineage: dict[str, Any]
) -> dict[str, Any]:
    """Everything that the template needs."""
    measured = measured_stage(records)
    return {
        "cycle": cycle,
        "config": config,
        "headline": headline(records),
        "facts": facts,
        "not_run": [stage for stage in STAGES if stage.name not in records and not stage.always],
        "quality": quality(measured) if measured else None,
        "delays": delays(measured) if measured else None,
        "verdicts": [verdicts(records[name]) for name in ("rung_1", "rung_2", "funnel") if name in records],
        "agreement": _figure(records, "funnel", "agreement") or [],
        "landed": landed(records["events"]) if "events" in records else None,
        "expectations": expectations(records),
        "drift": records["validate_events"].figures if "validate_events" in records else None,
        "sequences": records["sequences"].figures if "sequences" in records else None,
        "evaluation_sequences": _whole(records, "evaluation_sequences"),
        "lengths_figure": lengths_figure(facts),
        "vocabulary": _whole(records, "vocabulary"),
        "item_features": _whole(records, "item_features"),
        "training": training(records),
        "lineage": lineage,
        "costs": costs(records),
        "total_seconds": sum(record.seconds for record in records.values()),
    }


def headline(records: Records) -> Headline:
    """The verdict of the whole cycle in words."""
    refused = next((record for record in records.values() if record.refused), None)
    if refused is not None:
        name = {
            "rung_1": "the first rung",
            "rung_2": "the second rung",
            "train": "the full model's training",
            "funnel": "the funnel's last gate",
        }
        where = name.get(refused.stage, refused.stage)
        failing = _refusing(refused) or [refused.refused]
        saved = refused.figures.get("saved")
        reasons = (*failing, *((saved.rstrip(".") + ".",) if saved else ()))
        return Headline("refused", f"Refused by {where}: nothing was registered", reasons)
    if "register" not in records:
        done = [stage.name for stage in STAGES if stage.name in records]
        last = f"{done[-1]} was the last stage to finish" if done else "no stage has finished"
        return Headline("unfinished", "Not finished", (f"{last}.",))
    version = records["register"].figures["version"]
    promoted = _whole(records, "promote") or {}
    if promoted.get("moved") or promoted.get("champion") == version:
        title = f"Accepted: version {version} is the champion"
    else:
        title = f"Accepted: registered as version {version}"
    why = promoted.get("why")
    return Headline("accepted", title, (*standing(records), *((f"{_sentence(why)}",) if why else ())))


def verdicts(record: StageRecord) -> dict[str, Any]:
    """One gate's checks."""
    found = record.figures
    titles = {"rung_1": "First rung", "rung_2": "Second rung", "funnel": "Full model"}
    size = found.get("size")
    return {
        "title": titles[record.stage] + (f", {size} backbone parameters" if size else ""),
        "outcome": found.get("outcome", "passed"),
        "compared_with": found.get("compared_with"),
        "checks": found.get("verdicts", []),
        "seconds": record.seconds,
    }


def landed(record: StageRecord) -> dict[str, Any]:
    """What came in, with the reasons of what was refused, the most frequent first."""
    found = record.figures
    reasons = found["rejected_by_reason"]
    return {
        **found,
        "reasons": sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])),
        "absent": found["absent_columns"],
    }


def expectations(records: Records) -> list[dict[str, Any]]:
    """Counts of outcomes by table, and the page with every judgement."""
    rows: dict[str, dict[str, Any]] = {}
    for stage in ("validate_events", "validate_sequences"):
        for one in _figure(records, stage, "judgements") or []:
            empty = {"passed": 0, "failed": 0, "crashed": 0, "not_applicable": 0}
            row = rows.setdefault(one["table"], {"table": one["table"], **empty})
            row["page"] = records[stage].figures["page"]
            row[one["outcome"]] += 1
    return list(rows.values())


def training(records: Records) -> list[dict[str, Any]]:
    """Every model that was trained: its figures and curves, the full model first."""
    found = []
    if "train" in records and not records["train"].refused:
        found.append(("full model", records["train"].figures))
    for stage in ("rung_2", "rung_1"):
        figures_of_rung = _figure(records, stage, "training")
        if figures_of_rung:
            found.append((f"rung {records[stage].figures['size']}", figures_of_rung))
    return [{"name": name, **one, "curves": _curves(name, one)} for name, one in found]


def _curves(name: str, one: dict[str, Any]) -> list[Any]:
    drawn = []
    if one.get("training_curve"):
        drawn.append(figures.curve(f"Training loss, {name}", one["training_curve"], "step", 0))
    if one.get("validation_mrr"):
        drawn.append(figures.curve(f"MRR on held-out labels, {name}", one["validation_mrr"], "step", 3))
    return drawn


def costs(records: Records) -> list[dict[str, Any]]:
    """Seconds and memory by stage, in the map's order."""
    longest = max((record.seconds for record in records.values()), default=0) or 1
    return [
        {
            "stage": stage.name,
            "title": stage.title,
            "seconds": records[stage.name].seconds,
            "megabytes": records[stage.name].peak_megabytes,
            "share": records[stage.name].seconds / longest,
        }
        for stage in STAGES
        if stage.name in records
    ]


def lengths_figure(facts: TableFacts) -> Any:
    """Users by length of their history, as bars; None without users."""
    if not facts.history_lengths:
        return None
    names, counts = zip(*facts.history_lengths, strict=True)
    return figures.bars("Users by events up to the split", names, counts, "events of a user")


def _refusing(record: StageRecord) -> list[str]:
    checks = record.figures.get("verdicts", [])
    wanted = [one for one in checks if one["binding"] and one["outcome"] in ("fail", "inconclusive")]
    failing = [one for one in wanted if one["outcome"] == "fail"] or wanted
    return [_sentence(f"{one['check']}: {one['outcome']}, {one['explanation']}") for one in failing[:4]]


def _figure(records: Records, stage: str, name: str) -> Any:
    return records[stage].figures.get(name) if stage in records else None


def _whole(records: Records, stage: str) -> dict[str, Any] | None:
    return records[stage].figures if stage in records else None


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
