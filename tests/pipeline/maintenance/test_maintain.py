"""Nothing that a version or an unfinished cycle refers to goes; the rest does, whatever kills the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from pipeline.config import MaintenanceConfig
from pipeline.cycle import lease, vacuumed
from pipeline.cycle.definition import Cycle, write_cycle
from pipeline.cycle.records import read_records
from pipeline.maintenance.maintain import maintain
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.erased import NO_TEXT
from tests.factories import WINDOW, tiny_config
from tests.pipeline.maintenance.conftest import CUTOFFS, DIGEST, LATE, NEWEST, REFUSED, REGISTERED, UNFINISHED

KEPT = {REGISTERED: ["u0"], UNFINISHED: ["u2"], NEWEST: ["newest"]}
OPTIONS = {"keep_cycles": 1, "vacuum_hours": 0, "rejected_days": 20, "report_days": 20, "checkpoint_days": 5}


def texts(tidy) -> dict[str, str]:
    rows = delta.read(tidy.spark, tidy.settings.lake, "tiny", REJECTED_EVENTS).collect()
    return {row["file_id"]: row["raw"] for row in rows}


def check_kept(tidy) -> None:
    """What must read as before does."""
    assert {cycle: tidy.users(tidy.versions[cycle]) for cycle in KEPT} == KEPT
    assert tidy.users() == ["newest"]
    assert (tidy.settings.accepted_folder("tiny", DIGEST) / "candidate" / "model.safetensors").exists()
    for cycle in KEPT:
        assert tidy.checkpoint(cycle).exists() and tidy.page(cycle).exists()
        records = read_records(tidy.settings.cycle_folder("tiny", cycle))
        assert vacuumed.usable(tidy.settings.cycle_folder("tiny", cycle), records) == records


def test_what_nobody_refers_to_goes_and_a_killed_command_is_completed(tidy, monkeypatch):
    config, before = tidy.with_options(**OPTIONS), tidy.files()
    maintain(tidy.config, tidy.settings, tidy.lines.append)
    assert tidy.files() == before  # by default files stay that are as young as these
    assert tidy.page(REFUSED).exists() and texts(tidy) == {"old": "secret", "young": "secret"}
    tidy.lines.clear()
    maintain(config, tidy.settings, tidy.lines.append, dry_run=True)
    assert tidy.files() == before and tidy.checkpoint(REFUSED).exists()
    dry = [line for line in tidy.lines if line.startswith("events: ")]
    assert dry[0].startswith("events: 3 files of versions that nobody needs would be deleted, ")
    assert any(line.endswith("bytes would be freed; 3 cycles and what registered versions refer to stay as they are")
               for line in tidy.lines)  # fmt: skip
    delete_files = delta.delete_files

    def killed(spark, files):
        delete_files(spark, list(files)[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delta, "delete_files", killed)
        with pytest.raises(KeyboardInterrupt):
            maintain(config, tidy.settings, tidy.lines.append)
    check_kept(tidy)
    maintain(config, tidy.settings, tidy.lines.append)
    check_kept(tidy)
    gone = before - tidy.files()
    assert len([path for path in gone if "/events/" in path]) == 3
    stays = {Path(path).name for path in tidy.files()}
    for cycle in (REFUSED, LATE):
        used = delta.files_of(tidy.spark, tidy.settings.lake, "tiny", EVENTS, tidy.versions[cycle])
        assert not used & stays
        assert not tidy.checkpoint(cycle).exists()
        folder = tidy.settings.cycle_folder("tiny", cycle)
        assert vacuumed.usable(folder, read_records(folder)) == {}
    assert not tidy.page(REFUSED).exists() and tidy.page(LATE).exists()  # 30 and 10 days before the newest
    assert texts(tidy) == {"old": NO_TEXT, "young": "secret"}
    for _ in range(2):  # what was the newest version of a table goes with the next call
        maintain(config, tidy.settings, tidy.lines.append)
    assert tidy.lines[-1].startswith("0 bytes were freed")
    check_kept(tidy)


def test_small_files_are_written_together_and_what_was_newest_stays(spark, home):
    config, place, said = tiny_config(), (home.lake, "tiny"), []
    write_cycle(home, Cycle("tiny", CUTOFFS[0], WINDOW, None), config, cold_start=False)
    for number in range(3):
        row = (f"f{number}", f"{number}.jsonl", 1, 0, 0, 0, "d.d", NEWEST, 0, *(None,) * 6)
        delta.append_new(spark, local_rows(spark, [row], INGESTED_FILES.ddl), INGESTED_FILES, *place)
    pinned = delta.latest_version(spark, *place, INGESTED_FILES)
    options = MaintenanceConfig(small_files=3, vacuum_hours=0)
    maintain(config.model_copy(update={"maintenance": options}), home, said.append)
    assert said[0].startswith("ingested_files: 3 small files of ")
    assert len(delta.files_of(spark, *place, INGESTED_FILES)) == 1
    for version in (None, pinned):  # what readers had open stays until the next call
        assert delta.read(spark, *place, INGESTED_FILES, version).count() == 3


def test_it_never_runs_beside_a_stage(home):
    with (
        lease.working(home, "tiny", NEWEST, "train"),
        pytest.raises(lease.SourceBusyError, match="train of tiny is still running"),
    ):
        maintain(tiny_config(), home, print)
    with (
        lease.mending(home, "tiny", "maintain"),
        pytest.raises(lease.SourceBusyError, match="maintain"),
        lease.working(home, "tiny", NEWEST, "train"),
    ):
        pass


def test_a_source_without_a_cycle_has_nothing_to_maintain(home, capsys):
    maintain(tiny_config(), home, print)
    assert "no cycle of tiny has run" in capsys.readouterr().out
