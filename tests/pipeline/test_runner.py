"""When a stage runs, and what is done already."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from model.config import TrainingConfig
from pipeline import presets, runner
from pipeline.command_line import parser
from pipeline.config import ExpectationsConfig
from pipeline.cycle import accepted, corrections, identity, lineage, vacuumed
from pipeline.cycle.context import StageContext, UndeclaredError
from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.figures import ReportFigures
from pipeline.cycle.identity import IdentityError
from pipeline.cycle.lease import SourceBusyError, working
from pipeline.cycle.records import StageRecord, StageResult, read_records, write_record
from pipeline.runner import StageError, is_finished, run_cycle, run_stage
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from spark_jobs.config import Continued
from spark_jobs.figures import SEQUENCES_RULES, ItemSignalsFigures, SequencesFigures
from tests.factories import CUTOFFS, tiny_config

CYCLE = Cycle("tiny", CUTOFFS[0], timedelta(days=10), None)
STAGES = workflow(tiny_config()).stages
FIGURES = ReportFigures("accepted", "", "")
WHY = corrections.Said("ann@host", "2024-02-10T00:00:00+00:00", "bots")


@pytest.fixture
def calls(monkeypatch):
    """Replaces every stage's work by a note of its name; each writes version 1 of its tables."""
    names: list[str] = []

    def call(stage, context):
        names.append(stage.name)
        return StageResult(FIGURES, dict.fromkeys(stage.writes, 1), refusals.get(stage.name)), None

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
    assert names == ["rung_1", "train", "evaluate", "funnel", "register", "promote", "report"]


def test_a_cycle_whose_tables_may_be_gone_begins_again_unless_it_is_finished(calls, settings):
    names, _ = calls
    run(tiny_config(), settings)
    vacuumed.mark(settings.cycle_folder("tiny", CYCLE.name), datetime.now(UTC))
    names.clear()
    run(tiny_config(), settings)
    assert names == []
    changed = tiny_config(training=TrainingConfig(seed=9))
    run(changed, settings)
    assert names == [stage.name for stage in STAGES]
    names.clear()
    run(changed, settings)
    assert names == []


def test_a_new_parent_repeats_only_the_stages_that_continue_it_or_read_what_they_wrote(calls, settings):
    names, _ = calls
    run(tiny_config(), settings)
    names.clear()
    parent = AcceptedVersion(1, "2024-01-01", CUTOFFS[0], "digest")
    run(tiny_config(), settings, replace(CYCLE, parent=parent, reference=parent))
    kept = {"events", "items", "item_features", "evaluation_sequences", "successors"}
    assert names == [stage.name for stage in STAGES if stage.name not in kept]


def test_other_code_repeats_nothing_and_the_lineage_tells_which_stage_ran_at_which_revision(
    calls, settings, monkeypatch
):
    monkeypatch.setattr(runner, "code_revision", lambda: "older")
    run_stage("events", tiny_config(), CYCLE, settings, say=lambda text: None)
    for module in (runner, lineage):
        monkeypatch.setattr(module, "code_revision", lambda: "newer")
    outcomes = run(tiny_config(), settings)
    assert not outcomes["events"].worked and outcomes["items"].worked
    records = {name: outcome.record for name, outcome in outcomes.items()}
    report = workflow(tiny_config())["report"]
    facts = lineage.lineage(StageContext(report, tiny_config(), CYCLE, settings, records))
    assert facts["code_revision"] == "newer"
    assert facts["stages_of_other_revisions"] == {"events": "older"}


def test_a_refusal_skips_what_follows_but_the_report(calls, settings):
    names, refusals = calls
    refusals["rung_1"] = "worse than popularity"
    outcomes = run(tiny_config(), settings)
    assert names[-2:] == ["rung_1", "report"] and "train" not in outcomes
    with pytest.raises(StageError, match="rung_1 refused"):
        run_stage("train", tiny_config(), CYCLE, settings, say=lambda text: None)


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


@pytest.fixture
def landed(settings):
    """A landing folder with one event file."""
    folder = settings.landing("tiny")
    folder.mkdir(parents=True)
    (folder / "events-1.jsonl").write_text("torn")
    return folder


def once(name, settings):
    return run_stage(name, tiny_config(), CYCLE, settings, say=lambda text: None)


@pytest.mark.parametrize("command", ["events", "items", "validate_events"])
def test_a_red_cycle_is_mended_by_mending_its_data(calls, settings, landed, monkeypatch, command):
    names, _ = calls
    once("events", settings), once("items", settings)
    names.clear()
    once("events", settings)
    assert names == []
    # `validate_events` was red and left no record: whichever task is cleared does what is needed.
    (landed / "events-1.jsonl").write_text("whole")
    once(command, settings)
    assert (
        names
        == ["events", "items", "validate_events"][: 1 + ["events", "items", "validate_events"].index(command)]
    )


def test_a_cycle_that_has_passed_stays_as_it_is_whatever_lands(calls, settings, landed):
    names, _ = calls
    for name in ("events", "items", "validate_events"):
        once(name, settings)
    names.clear()
    (landed / "events-2.jsonl").write_text("late")
    said = corrections.withdraw(corrections.Corrections(), "events-1.jsonl", (), WHY)
    corrections.write(settings, "tiny", said)
    strict = ExpectationsConfig(max_faulty_fraction=0.01)
    run_stage("validate_events", tiny_config(expectations=strict), CYCLE, settings, say=lambda text: None)
    assert names == ["validate_events"]


def test_a_withdrawn_file_counts_until_the_suite_has_passed(calls, settings, landed):
    names, _ = calls
    once("events", settings)
    corrections.write(
        settings, "tiny", corrections.withdraw(corrections.Corrections(), "events-1.jsonl", (), WHY)
    )
    once("events", settings)
    assert names == ["events", "events"]


def test_an_erasure_begins_an_unfinished_cycle_again_and_leaves_a_finished_one(calls, settings, landed):
    names, _ = calls
    once("events", settings), once("items", settings), once("validate_events", settings)
    corrections.write(settings, "tiny", corrections.erase(corrections.Corrections(), "digest", WHY))
    names.clear()
    run(tiny_config(), settings)
    assert names == [stage.name for stage in STAGES]
    corrections.write(settings, "tiny", corrections.erase(corrections.read(settings, "tiny"), "other", WHY))
    names.clear()
    run(tiny_config(), settings)
    assert names == [] and is_finished(tiny_config(), CYCLE, settings)


def test_a_source_of_the_same_name_elsewhere_is_refused_by_a_stage_too(calls, settings):
    identity.claim(tiny_config(), settings)
    config = tiny_config()
    other = config.model_copy(update={"source": config.source.model_copy(update={"landing": "/elsewhere"})})
    with pytest.raises(IdentityError, match="move-source"):
        run_stage("events", other, CYCLE, settings, say=lambda text: None)


def test_a_stage_without_its_upstream_says_what_to_run(calls, settings):
    with pytest.raises(StageError, match="python -m pipeline events"):
        run_stage("items", tiny_config(), CYCLE, settings, say=lambda text: None)


def test_what_to_run_first_is_a_command_that_works_for_a_file_too(calls, settings, tmp_path):
    folder = tmp_path / "my logs"
    folder.mkdir()
    (folder / "my.toml").write_text(
        '[source]\nname = "my-log"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        'user = "u"\nitem = "i"\ntime = "t"\n'
    )
    config = presets.load(str(folder / "my.toml"), "quick")
    with pytest.raises(StageError) as problem:
        run_stage("items", config, replace(CYCLE, source="my-log"), settings, say=lambda text: None)
    words = shlex.split(str(problem.value).partition("run: python -m pipeline ")[2])
    options = parser().parse_args(words)
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
        run_stage("events", tiny_config(), CYCLE, settings, say=lambda text: None)


def test_stages_after_the_same_ones_run_side_by_side(calls, settings):
    names, _ = calls
    run(tiny_config(), settings)
    (settings.cycle_folder("tiny", CYCLE.name) / "stage-item_features.json").unlink()
    with working(settings, "tiny", CYCLE.name, "sequences"):
        run_stage("item_features", tiny_config(), CYCLE, settings, say=lambda text: None)
    assert names[-1] == "item_features"


def test_a_stage_that_the_configuration_lacks_says_so(calls, settings):
    with pytest.raises(StageError, match="has no stage rung_2: funnel.rungs names 1 rungs"):
        run_stage("rung_2", tiny_config(), CYCLE, settings, say=lambda text: None)


def test_a_table_that_a_stage_does_not_declare_to_write_is_an_error(calls, settings, monkeypatch):
    result = StageResult(FIGURES, {"items": 1})
    monkeypatch.setattr(runner, "_call", lambda stage, context: (result, None))
    with pytest.raises(UndeclaredError, match="events does not declare that it writes items"):
        run_stage("events", tiny_config(), CYCLE, settings, say=lambda text: None)
    assert read_records(settings.cycle_folder("tiny", CYCLE.name)) == {}


def test_a_start_from_scratch_continues_the_vocabulary_of_its_reference(settings):
    made = replace(CYCLE, cutoff=CUTOFFS[0] - timedelta(days=5))
    folder = settings.cycle_folder("tiny", made.name)
    written = StageRecord("vocabulary", "", {}, {"vocabulary": 4}, FIGURES, None, 0.0, "", 0.0)
    write_record(folder, written)
    accepted.keep(settings, made, "digest")
    reference = AcceptedVersion(1, made.name, made.split, "digest")
    scratch, stages = replace(CYCLE, reference=reference), workflow(tiny_config())
    job = runner.spark_job(StageContext(stages["vocabulary"], tiny_config(), scratch, settings, {}))
    assert (job.parent_cycle, job.parent_split, job.versions) == (made.name, made.split, {"vocabulary": 4})


@pytest.mark.parametrize("half_lives", [None, (1.0, 30.0)])
def test_signals_continue_the_half_lives_of_the_version_before_where_its_record_has_them(
    settings, half_lives
):
    made = replace(CYCLE, cutoff=CUTOFFS[0] - timedelta(days=5))
    written = [("vocabulary", FIGURES)]
    if half_lives is not None:
        written.append(("item_signals", ItemSignalsFigures(half_lives, 1, 1, 1, 1, 0, 1)))
    for stage, figures in written:
        record = StageRecord(stage, "", {}, {stage: 4}, figures, None, 0.0, "", 0.0)
        write_record(settings.cycle_folder("tiny", made.name), record)
    accepted.keep(settings, made, "digest")
    reference = AcceptedVersion(1, made.name, made.split, "digest")
    cycle, stages = replace(CYCLE, parent=reference, reference=reference), workflow(tiny_config())
    job = runner.spark_job(StageContext(stages["item_signals"], tiny_config(), cycle, settings, {}))
    assert job.parent_half_lives_days == half_lives
    assert job.versions == {}


@pytest.mark.parametrize(
    ("rules", "sequences", "kept"),
    [
        (SEQUENCES_RULES, {}, Continued(events_version=7, events=9)),
        (SEQUENCES_RULES - 1, {}, None),
        (SEQUENCES_RULES, {"max_targets": 3}, None),
    ],
)
def test_sequences_continue_those_of_the_version_before_where_rules_and_configuration_are_the_same(
    settings, rules, sequences, kept
):
    made, config = replace(CYCLE, cutoff=CUTOFFS[0] - timedelta(days=5)), tiny_config()
    stage = workflow(config)["sequences"]
    folder = settings.cycle_folder("tiny", made.name)
    inputs = {"configuration": config.digest_of(*stage.sections)}
    figures = SequencesFigures(9, 1, 1, 9, 9, 1, 0, 90, 10.0, 0.0, rules)
    write_record(folder, StageRecord("events", "", {}, {"events": 7}, FIGURES, None, 0.0, "1", 0.0))
    write_record(folder, StageRecord("sequences", "", inputs, {"sequences": 4}, figures, None, 0.0, "2", 0.0))
    accepted.keep(settings, made, "digest")
    reference = AcceptedVersion(1, made.name, made.split, "digest")
    cycle = replace(CYCLE, parent=reference, reference=reference)
    today = tiny_config(sequences=config.sequences.model_copy(update=sequences))
    job = runner.spark_job(StageContext(stage, today, cycle, settings, {}))
    assert job.continued == kept
    assert job.versions == ({"sequences": 4} if kept else {})


def test_a_job_is_given_only_what_its_stage_declares(settings):
    versions = {"events": 3, "items": 4, "ranks": 5}
    finished = {"items": StageRecord("items", "", {}, versions, FIGURES, None, 0.0, "", 0.0)}
    reference = AcceptedVersion(1, "2024-01-31", CYCLE.split, "digest")
    stages, cycle = workflow(tiny_config()), replace(CYCLE, reference=reference)
    job = runner.spark_job(StageContext(stages["item_features"], tiny_config(), cycle, settings, finished))
    assert job.versions == {"events": 3, "items": 4}
    assert (job.parent_cycle, job.parent_split) == (None, None)
