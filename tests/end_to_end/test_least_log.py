"""A log of users, items and times alone: a whole cycle over it, and a second one whose new lines are faulty."""

from __future__ import annotations

import csv
import random
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from deltalake import DeltaTable

from expectations.tables import CONTEXT_FIELDS, location
from model.evaluation.names import CANDIDATE, FROZEN, ModelName
from pipeline import presets
from pipeline.__main__ import main
from pipeline.cycle import accepted
from pipeline.cycle.records import StageRecord, read_records
from pipeline.errors import Exit
from pipeline.registry import tracking
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import rung_stage, workflow

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400
ITEMS = 20
FIRST, SECOND = "2026-03-01", "2026-03-15"
TOML = """
[source]
name = "least"

[source.events]
files = ["log-*.csv"]
format = "csv"
user = "u"
item = "i"
time = "t"

[schedule]
window_days = 14

[objective]
label_window = 1
half_life_hours = 48

[training]
batch_tokens = 256
epochs = 20
learning_rate = 5e-3
embedding_learning_rate = 5e-3
"""


def land(path: Path, rows: list[tuple[str, str, int | str]]) -> None:
    """Writes a file of the log."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("u", "i", "t"), *rows])


def walks() -> list[tuple[str, str, int | str]]:
    """Thirty users walk around a ring of items, twenty steps each, some three days apart until March."""
    rng = random.Random(3)
    rows = []
    for user in range(30):
        at, item = START.timestamp(), rng.randrange(ITEMS)
        for step in range(20):
            at += rng.uniform(0.1, 5.7) * DAY
            rows.append((f"u{user:02d}", f"i{(item + step) % ITEMS:02d}", int(at)))
    return rows


class Log:
    """The log, the file that maps it, and the home of its cycles."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.toml = folder, folder / "least.toml"
        self.settings = Settings.at(folder / "home")
        self.settings.home.mkdir()
        self.settings.jars.symlink_to(Settings.from_environment().jars, target_is_directory=True)
        self.toml.write_text(TOML)
        land(folder / "log-1.csv", walks())

    def cycle(self, cutoff: str) -> int:
        """Runs the command `cycle`; its exit code."""
        command = ["cycle", "--source", str(self.toml), "--preset", "quick", "--cutoff", cutoff]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REPRISE_HOME", str(self.settings.home))
            return main(command)

    def records(self, cycle: str) -> dict[str, StageRecord]:
        """Records of the cycle's stages that finished."""
        return read_records(self.settings.cycle_folder("least", cycle))

    def rows(self, table: str, version: int) -> list[dict]:
        """Rows of a table at a version."""
        return (
            DeltaTable(location(self.settings.lake, "least", table), version).to_pyarrow_table().to_pylist()
        )


@pytest.fixture(scope="module")
def log(spark, tmp_path_factory):
    """The log after the cycle cut at FIRST."""
    log = Log(tmp_path_factory.mktemp("least"))
    assert log.cycle(FIRST) == 0
    return log


def test_users_items_and_times_alone_make_a_whole_cycle(log):
    config, records = presets.load(str(log.toml), "quick"), log.records(FIRST)
    assert set(records) == {stage.name for stage in workflow(config).stages}
    assert records["events"].figures.accepted == len(walks())
    items = log.rows("items", records["items"].versions["items"])
    assert len(items) == records["items"].figures.items_new == ITEMS
    # Nothing is known of an item but its events: its vectors are zeros of the width that the model reads.
    features = log.rows("item_features", records["item_features"].versions["item_features"])
    widths = dict(config.network().modalities)
    assert len(features) == ITEMS
    assert {name: len(row[name]) for row in features for name in widths} == widths
    assert not any(any(row[name]) for row in features for name in widths)
    sequences = log.rows("sequences", records["sequences"].versions["sequences"])
    assert {row[name] for row in sequences for name in CONTEXT_FIELDS} == {None}
    for number, size in enumerate(config.funnel.rungs, start=1):
        rung = records[rung_stage(number)].figures
        assert (rung.size, rung.outcome) == (size, "passed")
        # Where users go is told by where they were, not by what is popular.
        mrr = rung.measures.mrr
        assert mrr[ModelName.rung(size)] > 2 * mrr[FROZEN]
    assert records["funnel"].figures.outcome == "passed"
    assert records["report"].figures.outcome == "accepted"
    page = log.settings.report_folder("least", FIRST) / records["report"].figures.page
    assert "version 1, the new champion" in page.read_text()


def test_a_failing_suite_ends_the_run_and_readers_stay_on_the_last_tables_that_passed(log, capsys):
    (champion,) = tracking.accepted_versions(log.settings, "least")
    pinned = accepted.table_versions(log.settings, "least", champion)
    before = {table: log.rows(table, version) for table, version in pinned.items()}
    sound = [("u00", "i00", int(START.timestamp()) + (60 + day) * DAY) for day in range(12)]
    land(log.folder / "log-2.csv", sound + [("u01", "", 0), ("", "i01", 0), ("u01", "i01", "soon")] * 12)

    assert log.cycle(SECOND) == Exit.FAILED
    told = capsys.readouterr().err
    assert "data expectations are not met: " in told and "events.faulty_lines_few" in told
    assert set(log.records(SECOND)) == {"events", "items"}
    assert not log.settings.checkpoint_folder("least", SECOND, CANDIDATE).parent.exists()
    page = log.settings.report_folder("least", SECOND) / "validate_events.html"
    assert str(page) in told
    assert "36 of 48 lines" in page.read_text()
    assert "12 × missing item (first: log-2.csv, line 14)" in page.read_text()

    assert tracking.champion_version(log.settings, "least") == champion.version
    assert tracking.accepted_versions(log.settings, "least") == [champion]
    assert {table: log.rows(table, version) for table, version in pinned.items()} == before
    model = mlflow.pyfunc.load_model(f"models:/{tracking.model_name('least')}@champion")
    history = [{"item_id": "i07", "event_at": "2026-02-28T20:00:00"}]
    (answer,) = model.predict([{"history": history, "k": 1}])["items"]
    assert list(answer) == ["i08"]
