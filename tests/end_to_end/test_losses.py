"""What is lost between landed files and events ends a cycle, in words that name the file and the remedy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import presets
from pipeline.cycle import lease
from pipeline.cycle.definition import cycle_name
from pipeline.cycle.figures import ValidateEventsFigures
from pipeline.cycle.records import read_records
from pipeline.runner import run_stage
from pipeline.settings import Settings
from pipeline.stages.resolve import pin_cycle
from pipeline.stages.validate import ExpectationsFailed
from spark_jobs.figures import EventsFigures

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = 60
TOML = """
[source]
name = "losing"
[source.events]
files = ["*.jsonl"]
format = "jsonl"
user = "u"
item = "i"
time = "t"
country = "c"
where = "kind = 'prod'"
[schedule]
window_days = 7
"""


def line(day: int, number: int, **changes: object) -> dict:
    at = FIRST + timedelta(days=day, minutes=10 * number)
    whole = {
        "u": f"u{number % 20}",
        "i": f"i{number % 7}",
        "t": int(at.timestamp()),
        "c": "NL",
        "kind": "prod",
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


class Log:
    """A log of a file a day, and the home of its cycles."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.toml = folder, folder / "losing.toml"
        self.settings = Settings.at(folder / "home")
        self.settings.home.mkdir()
        self.settings.jars.symlink_to(Settings.from_environment().jars, target_is_directory=True)
        self.toml.write_text(TOML)

    def land(self, name: str, lines: list[dict]) -> None:
        (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))

    def day(self, day: int, lines: int = EVENTS, **changes: object) -> None:
        """Lands the file of a day; every line has these changes."""
        self.land(f"day-{day:02d}", [line(day, number, **changes) for number in range(lines)])

    def judge(self, days: int) -> ValidateEventsFigures:
        """Ingests and judges the cycle with this cutoff, days after FIRST."""
        config, cutoff = presets.load(str(self.toml), "quick"), FIRST + timedelta(days=days)
        with lease.holding(self.settings, "losing", cycle_name(cutoff)):
            cycle = pin_cycle(config, cutoff, self.settings)
            for stage in ("events", "items", "validate_events"):
                outcome = run_stage(stage, config, cycle, self.settings, lambda text: None)
        return outcome.record.figures

    def events(self, days: int) -> EventsFigures:
        """What the cycle with this cutoff ingested last."""
        folder = self.settings.cycle_folder("losing", cycle_name(FIRST + timedelta(days=days)))
        return read_records(folder)["events"].figures


@pytest.fixture(scope="module")
def log(spark, tmp_path_factory) -> Log:
    """The log after a cycle of 21 days that passed."""
    log = Log(tmp_path_factory.mktemp("losing"))
    for day in range(21):
        log.day(day)
    figures = log.judge(21)
    assert not [row for row in figures.judgements if row.outcome not in ("passed", "not_applicable")]
    return log


def test_each_loss_ends_the_next_cycle_and_mended_files_let_it_pass(log):
    log.day(21, kind="test")  # all excluded
    log.day(22, lines=6)
    log.day(23, c=None)
    log.day(25)  # and no day 24
    log.day(26)
    log.day(27)
    log.land("day-20-again", [line(20, number) | {"x": 1} for number in range(EVENTS)])
    log.land("day-02-late", [line(2, number, u="late") for number in range(EVENTS)])
    with pytest.raises(ExpectationsFailed) as failure:
        log.judge(28)
    told = str(failure.value)
    assert "\n" not in told
    for words in (
        "losses.events_of_file (failed, 2 rows: 0 events in day-2",
        "60 lines excluded by where in day-21.jsonl",
        "60 lines repeating known events in day-20-again.jsonl",
        "6 lines in day-22.jsonl, allowed at least 15",
        "compare the columns that events.where names",
    ):
        assert words in told.replace("\u00a0", " "), words
    page = (log.settings.report_folder("losing", "2026-01-29") / "validate_events.html").read_text()
    for words in (
        "60 events without country in day-23.jsonl",
        "60 events without country in 2026-01-24",
        "0 events in 2026-01-2",
        ">2026-01-25<",  # among the failing rows
        "60 lines excluded by where in 2026-01-22",
    ):
        assert words in page, words

    for day in (21, 22, 23, 24):
        log.day(day)
    (log.folder / "day-20-again.jsonl").unlink()
    figures = log.judge(28)
    assert not [row for row in figures.judgements if row.outcome not in ("passed", "not_applicable")]
    late = figures.late
    assert (late.new, late.by_lateness["up to 30 days"], late.context_only) == (8 * EVENTS, EVENTS, 0)


def test_a_retyped_column_and_a_lost_one_end_the_next_cycle_by_name(log):
    log.land(
        "day-28", [line(28, number) | {"t": f"2026-01-29T00:{number:02d}:00Z"} for number in range(EVENTS)]
    )
    log.day(29, c={"code": "NL"})
    log.day(30)
    with pytest.raises(ExpectationsFailed) as failure:
        log.judge(31)
    told = str(failure.value).replace("\u00a0", " ")
    for words in (
        "losses.columns_keep_their_kind (failed, 2 rows: ",
        "column t of day-28.jsonl was seconds since 1970 and is dates on 100.0 % of its lines",
        "column c of day-29.jsonl was text and is objects on 100.0 % of its lines; land the file again",
    ):
        assert words in told, words
    assert len(log.events(31).retyped) == 2 and log.events(31).accepted == 2 * EVENTS

    for day in (28, 29, 30):
        log.day(day, u=None)
    with pytest.raises(ExpectationsFailed) as failure:
        log.judge(31)
    told = str(failure.value)
    assert (
        "events.file_readable (failed, 3 rows: day-28.jsonl: events.user = 'u' names column u, which" in told
    )
    assert "its columns are: c, i, kind, t; name what it is called by now too (coalesce)" in told
    assert "repair, replace or remove the file" in told
    for day in (28, 29, 30):
        log.day(day)
    log.judge(31)
    assert log.events(31).retyped == () and log.events(31).accepted == 3 * EVENTS
