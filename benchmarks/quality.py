"""Ranking quality of the model and the yardsticks on the open sources, from cycles that have run.

    make demo SOURCE=ifdb               # and ml-100k, kuairand: two cycles each
    python -m benchmarks.quality        # prints the README's tables

Reads the records of each source's second demo cycle in this home; trains nothing. Sources whose cycles have
not run are listed as such.
"""

from __future__ import annotations

from model.evaluation.figures import Estimate, Measures, MetricRow
from model.evaluation.names import (
    CANDIDATE,
    COLD_START,
    DECAYED_UNSEEN,
    FROZEN,
    MARKOV_NOW,
    MIXTURE,
    MOVING,
)
from pipeline import presets
from pipeline.cycle.definition import cutoff_of, cycle_name
from pipeline.cycle.figures import EvaluateFigures
from pipeline.cycle.records import read_records
from pipeline.settings import Settings
from pipeline.sources import SOURCES

YARDSTICKS = {
    FROZEN: "frozen",
    MOVING: "moving",
    DECAYED_UNSEEN: "decayed, unseen first",
    MARKOV_NOW: "chain, as of the request",
    MIXTURE: "learned mixture",
}


def figures(settings: Settings, source: str) -> EvaluateFigures | None:
    """The figures of `evaluate` in the second demo cycle of a source; None when it has not run."""
    cutoffs = presets.load(source).schedule.demo_cutoffs
    records = read_records(settings.cycle_folder(source, cycle_name(cutoff_of(cutoffs[1]))))
    return records["evaluate"].figures if "evaluate" in records else None


def row(
    measures: Measures, model: str, delay: float, kind: str = "all", group: str = "all"
) -> MetricRow | None:
    """A model's metrics under replay at a delay; None where it was not ranked."""
    for metrics in measures.metrics:
        same = (metrics.model, *metrics.condition) == (model, "replay", delay)
        if same and (metrics.kind, metrics.group) == (kind, group):
            return metrics
    return None


def difference(measures: Measures, against: str, delay: float) -> Estimate | None:
    """The candidate's MRR minus a yardstick's, over all labels; None where it was not ranked."""
    for row in measures.differences:
        if (row.against, *row.condition, row.kind) == (against, "replay", delay, "all"):
            return row.absolute
    return None


def signed(values: Estimate | None) -> str:
    return f"{values[0]:+.4f} [{values[1]:+.4f}, {values[2]:+.4f}]" if values else "–"


def print_quality(settings: Settings, delay: float) -> None:
    """One line per source: MRR of the model and of each yardstick, and the paired differences."""
    print(
        f"\nReplay, delay {delay:g} h, all label events pooled; difference = model − yardstick, 95 % interval\n"
    )
    names = [*YARDSTICKS.values(), *(f"− {words}" for words in YARDSTICKS.values())]
    print("| source | labels | model | " + " | ".join(names) + " |")
    print("|---" * (3 + len(names)) + "|")
    for source in SOURCES:
        evaluated = figures(settings, source)
        if evaluated is None:
            print(f"| {source} | not run: `make demo SOURCE={source}` |")
            continue
        rows = [row(evaluated.measures, model, delay) for model in (CANDIDATE, *YARDSTICKS)]
        cells = [f"{metrics.values['mrr'].value:.4f}" if metrics else "–" for metrics in rows] + [
            signed(difference(evaluated.measures, yardstick, delay)) for yardstick in YARDSTICKS
        ]
        print(f"| {source} | {rows[0].examples:,} | " + " | ".join(cells) + " |")


def print_cold(settings: Settings) -> None:
    """MRR of cold-start items; `python -m benchmarks.without_tower` has it without the tower."""
    print("\nCold-start items (outside both models' vocabularies), replay, delay 0 h\n")
    print("| source | labels | model | frozen popularity |")
    print("|---|---|---|---|")
    for source in SOURCES:
        evaluated = figures(settings, source)
        cold = evaluated and row(evaluated.measures, CANDIDATE, 0.0, "slice", COLD_START)
        if cold:
            frozen = row(evaluated.measures, FROZEN, 0.0, "slice", COLD_START)
            cells = [interval(metrics.values["mrr"]) for metrics in (cold, frozen)]
            print(f"| {source} | {cold.examples:,} | " + " | ".join(cells) + " |")


def interval(values: Estimate) -> str:
    return f"{values[0]:.4f} [{values[1]:.4f}, {values[2]:.4f}]"


def main() -> None:
    settings = Settings.from_environment()
    for delay in (0.0, 48.0):
        print_quality(settings, delay)
    print_cold(settings)


if __name__ == "__main__":
    main()
