"""When a stage runs, and what is done already."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from model.config import TrainingConfig
from pipeline import presets, runner
from pipeline.__main__ import _parser
from pipeline.cycle import accepted, lineage
from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.lease import SourceBusyError, working
from pipeline.cycle.records import (
    StageContext,
    StageRecord,
    StageResult,
    read_records,
    write_atomically,
    write_record,
)
from pipeline.runner import StageError, is_finished, run_cycle, run_stage
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import BY_NAME, STAGES, Stage
from tests.factories import CUTOFFS, tiny_config

CYCLE = Cycle("tiny", CUTOFFS[0], timedelta(days=10), None)


@pytest.fixture
def calls(monkeypatch):
    """Replaces every stage's work by a note of its name; each writes version 1 of its tables."""
    names: list[str] = []

    def call(stage, context):
        names.append(stage.name)
        return StageResult(versions=dict.fromkeys(stage.writes, 1), refused=refusals.get(stage.name))

    refusals: dict[str, str] = {}
    monkeypatch.setattr(runner, "_call", call)
    names_and_refusals = names, refusals
    return names_and_refusals


@pytest.fixture
def settings(tmp_path):
    return Settings.at(tmp_path)


def run(config, settings, cycle=CYCLE):
    return run_cycle(config, cycle, settings, say=lambda text: None)


def test_a_cycle_runs_every_stage_once_and_again_none(calls, settings):
    names, _ = calls
    run(tiny_config(), settings)
    assert names == [stage.name for stage in STAGES]
    outcomes = run(tiny_config(), settings)
    assert len(names) == len(STAGES)
    assert not any(outcome.worked for outcome in outcomes.values())


def test_a_changed_section_repeats_only_the_stages_that_read_it_or_what_they_wrote(calls, settings):
    names, _ = calls
    run(tiny_config(), settings)
    names.clear()
    run(tiny_config(training=TrainingConfig(seed=9)), settings)
    assert names == ["rung_1", "rung_2", "train", "evaluate", "funnel", "register", "promote", "report"]


def test_a_new_parent_repeats_the_cycle_from_the_vocabulary_on(calls, settings):
    names, _ = calls
    run(tiny_config(), settings)
    names.clear()
    parent = AcceptedVersion(1, "2024-01-01", CUTOFFS[0], "digest")
    run(tiny_config(), settings, replace(CYCLE, parent=parent, reference=parent))
    assert names[0] == "vocabulary" and "events" not in names and "items" not in names


def test_other_code_repeats_nothing_and_the_lineage_tells_which_stage_ran_at_which_revision(
    calls, settings, monkeypatch
):
    monkeypatch.setattr(runner, "code_revision", lambda: "older")
    run_stage(BY_NAME["events"], tiny_config(), CYCLE, settings, say=lambda text: None)
    for module in (runner, lineage):
        monkeypatch.setattr(module, "code_revision", lambda: "newer")
    outcomes = run(tiny_config(), settings)
    assert not outcomes["events"].worked and outcomes["items"].worked
    records = {name: outcome.record for name, outcome in outcomes.items()}
    told = lineage.lineage(StageContext(tiny_config(), CYCLE, settings, records))
    assert told["code_revision"] == "newer"
    assert told["stages_of_other_revisions"] == {"events": "older"}


def test_a_refusal_skips_what_follows_but_the_report(calls, settings):
    names, refusals = calls
    refusals["rung_1"] = "worse than popularity"
    outcomes = run(tiny_config(), settings)
    assert names[-2:] == ["rung_1", "report"] and "train" not in outcomes
    with pytest.raises(StageError, match="rung_1 refused"):
        run_stage(BY_NAME["rung_2"], tiny_config(), CYCLE, settings, say=lambda text: None)


@pytest.mark.parametrize("refused", [None, "rung_1", "funnel"])
def test_a_whole_cycle_is_finished_accepted_or_refused(calls, settings, refused):
    names, refusals = calls
    if refused:
        refusals[refused] = "worse than popularity"
    assert not is_finished(tiny_config(), CYCLE, settings)
    run(tiny_config(), settings)
    names.clear()
    assert is_finished(tiny_config(), CYCLE, settings)
    assert not is_finished(tiny_config(training=TrainingConfig(seed=9)), CYCLE, settings)
    (settings.cycle_folder("tiny", CYCLE.name) / "stage-sequences.json").unlink()
    assert not is_finished(tiny_config(), CYCLE, settings)
    assert names == []


def test_a_stage_without_its_upstream_says_what_to_run(calls, settings):
    with pytest.raises(StageError, match="python -m pipeline events"):
        run_stage(BY_NAME["items"], tiny_config(), CYCLE, settings, say=lambda text: None)


def test_what_to_run_first_is_a_command_that_works_for_a_file_too(calls, settings, tmp_path):
    folder = tmp_path / "my logs"
    folder.mkdir()
    (folder / "my.toml").write_text(
        '[source]\nname = "my-log"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        'user = "u"\nitem = "i"\ntime = "t"\n'
    )
    config = presets.load(str(folder / "my.toml"), "quick")
    with pytest.raises(StageError) as problem:
        run_stage(BY_NAME["items"], config, replace(CYCLE, source="my-log"), settings, say=lambda text: None)
    words = shlex.split(str(problem.value).partition("run: python -m pipeline ")[2])
    options = _parser().parse_args(words)
    assert options.command == "events" and options.cutoff == CYCLE.cutoff.isoformat()
    assert presets.load(options.source, options.preset) == config


def test_a_failed_stage_leaves_no_record(calls, settings, monkeypatch):
    def fail(stage, context):
        raise OSError("disk full")

    monkeypatch.setattr(runner, "_call", fail)
    with pytest.raises(OSError, match="disk full"):
        run(tiny_config(), settings)
    assert read_records(settings.cycle_folder("tiny", CYCLE.name)) == {}


def test_two_stages_of_one_source_are_refused(calls, settings):
    with working(settings, "tiny", CYCLE.name, "items"), pytest.raises(SourceBusyError):
        run_stage(BY_NAME["events"], tiny_config(), CYCLE, settings, say=lambda text: None)


def test_stages_after_the_same_ones_run_side_by_side(calls, settings):
    names, _ = calls
    run(tiny_config(), settings)
    (settings.cycle_folder("tiny", CYCLE.name) / "stage-item_features.json").unlink()
    with working(settings, "tiny", CYCLE.name, "sequences"):
        run_stage(BY_NAME["item_features"], tiny_config(), CYCLE, settings, say=lambda text: None)
    assert names[-1] == "item_features"


def test_a_start_from_scratch_continues_the_tokens_of_the_champion(settings):
    made = replace(CYCLE, cutoff=CUTOFFS[0] - timedelta(days=5))
    folder = settings.cycle_folder("tiny", made.name)
    written = StageRecord("vocabulary", "", {}, {"vocabulary": 4}, {}, None, 0.0, "", 0.0)
    write_record(folder, written)
    accepted.keep(settings, made, "digest")
    champion = AcceptedVersion(1, made.name, made.split, "digest")
    scratch = replace(CYCLE, reference=champion)
    job = runner.spark_job(StageContext(tiny_config(), scratch, settings, {}))
    assert (job.parent_cycle, job.parent_split, job.versions) == (made.name, made.split, {"vocabulary": 4})


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "record.json"
    write_atomically(target, "old")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, "new")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_every_read_was_written_by_a_stage_that_had_finished():
    finished = {"resolve": {"registry", "landed files", "cycle record", "every record"}}
    for stage in STAGES:
        written = set().union(*(finished[name] for name in stage.after))
        of_the_parent = {"vocabulary", "text_vectors"}
        assert set(stage.reads) <= written | of_the_parent, stage.name
        finished[stage.name] = written | set(stage.writes)


def test_only_the_stages_between_the_two_judgements_of_data_run_side_by_side():
    after = Counter(stage.after for stage in STAGES)
    assert {names: count for names, count in after.items() if count > 1} == {("validate_events",): 4}
    assert set(BY_NAME["validate_sequences"].after) == {
        stage.name for stage in STAGES if stage.after == ("validate_events",)
    }


def test_every_stage_names_a_function_that_exists():
    for stage in STAGES:
        assert callable(stage.load()), stage.function


def test_reading_the_map_loads_no_engine():
    import subprocess
    import sys

    code = "import sys, pipeline.workflows.refresh_cycle; print([m for m in ('pyspark','torch','mlflow','airflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stage_is_frozen():
    with pytest.raises(AttributeError):
        BY_NAME["events"].name = "other"
    assert isinstance(BY_NAME["events"], Stage)
