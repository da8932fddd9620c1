"""The one program: what it prints, and how it ends."""

from __future__ import annotations

import errno
import json
import shlex

import pytest

from pipeline import presets, runner
from pipeline.__main__ import main
from pipeline.cycle import acceptance, lease
from pipeline.cycle import definition as cycle
from pipeline.cycle.records import StageRecord
from pipeline.mending import files, users
from pipeline.registry import tracking
from pipeline.report import screens as status
from pipeline.runner import Outcome, StageError
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow

EVENTS = ["events", "--source", "ml-100k", "--cutoff", "1998-03-26"]
OWN = """
[source]
name = "my-log"
[source.events]
files = ["*.csv"]
format = "csv"
user = "u"
item = "i"
time = "t"
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The home that the program is told of by the environment."""
    monkeypatch.setenv("REPRISE_HOME", str(tmp_path / "home"))
    return Settings.from_environment()


@pytest.fixture
def stage(settings, monkeypatch):
    """Lays out what a stage comes to: an error, or a refusal."""

    def comes_to(result):
        def run(name, config, cycle, settings, say):
            if isinstance(result, Exception):
                raise result
            record = StageRecord(name, "", {}, {}, None, result, 2.0, "2024-02-20T00:00:00", 1.0)
            return Outcome(record, worked=True)

        monkeypatch.setattr(cycle, "load_cycle", lambda settings, source, name: None)
        monkeypatch.setattr(runner, "run_stage", run)

    return comes_to


def test_the_list_names_every_stage(capsys):
    assert main(["--list"]) == 0
    rows = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    names = [stage.name for stage in workflow(presets.load("ml-100k"))]
    assert [row for row in rows if row in names] == names


def test_no_command_is_told_what_there_is(capsys):
    assert main([]) == 2
    assert "check-source" in capsys.readouterr().out


def test_the_configuration_is_shown_whole(settings, capsys):
    assert main(["config", "--show", "--source", "ml-100k", "--preset", "quick"]) == 0
    told = capsys.readouterr()
    config = presets.load("ml-100k", "quick")
    assert json.loads(told.out) == config.model_dump(mode="json")
    assert told.err == f"digest {config.digest}\n"


def test_a_finished_stage_ends_with_0_and_a_refusal_with_99(stage, capsys):
    stage(None)
    assert main(EVENTS) == 0
    assert capsys.readouterr().out.endswith("events: done in 2.0 s\n")
    stage("worse than popularity")
    assert main(EVENTS) == 99
    assert capsys.readouterr().out.endswith("events: refused: worse than popularity\n")


def test_an_error_of_the_project_is_one_line(stage, capsys):
    stage(StageError("events needs resolve"))
    assert main(EVENTS) == 1
    assert capsys.readouterr().err == "error: events: events needs resolve\n"
    assert main([*EVENTS, "--trace"]) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_a_crash_has_a_trace_and_then_one_line(stage, capsys):
    stage(KeyError("lines\nof others"))
    assert main(EVENTS) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == r"error: events: 'lines\nof others'"
    stage(RuntimeError("[UNRESOLVED_COLUMN] no such column\n'Project ['x]\n+- Relation"))
    assert main(EVENTS) == 70
    assert capsys.readouterr().err.splitlines()[-1] == "error: events: [UNRESOLVED_COLUMN] no such column"


def test_a_source_that_is_held_ends_with_75(stage, capsys):
    stage(lease.SourceBusyError("cycle 1998-04-23 of ml-100k is running"))
    assert main(EVENTS) == 75
    assert capsys.readouterr().err == "later: cycle 1998-04-23 of ml-100k is running\n"


def test_an_interruption_says_how_to_go_on(settings, monkeypatch, capsys):
    def interrupt(settings, source, name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cycle, "load_cycle", interrupt)
    assert main(EVENTS) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("o12.save.\n: java.io.IOException: No space left on device\n\tat sun.nio.ch"),
    ],
)
def test_a_full_disk_is_one_line(stage, settings, capsys, error):
    settings.home.mkdir()
    stage(error)
    assert main(EVENTS) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("error: events: the disk that holds ")
    assert "MB left; free some space there" in told


def test_every_bad_value_of_a_file_is_told_in_one_line(settings, tmp_path, capsys):
    (tmp_path / "my.toml").write_text(OWN + "[training]\nepochs = 0\nwings = 2\n")
    assert main(["config", "--source", str(tmp_path / "my.toml")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert (
        "2 problems: training.epochs: Input should be greater than 0, given 0; training.wings is unknown"
        in told
    )


def pasted(text: str) -> list[str]:
    """The words after `python -m pipeline` in a text that was printed."""
    return shlex.split(text.partition("python -m pipeline ")[2].splitlines()[0])


def test_commands_that_were_printed_for_a_persons_own_source_work(settings, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "champion_version", lambda settings, source: None)
    lease.take(settings, "my-log", "2026-03-01")
    with pytest.raises(lease.SourceBusyError) as problem:
        lease.take(settings, "my-log", "2026-04-01")
    assert main(pasted(str(problem.value))) == 0
    assert "my-log: released by cycle 2026-03-01" in capsys.readouterr().out
    settings.cycle_folder("my-log", "2026-03-01").mkdir(parents=True)
    assert main(pasted(status.cycle_screen(settings, "my-log", ["2026-03-01"]))) == 0
    assert "my-log: no champion" in capsys.readouterr().out


def test_a_name_that_never_ran_is_no_source(settings, capsys):
    assert main(["status", "--source", "my-log"]) == 1
    assert "source 'my-log' is unknown; pass ml-100k" in capsys.readouterr().err


def test_a_red_suite_is_accepted_by_the_name_of_the_cycle_and_a_reason(settings, capsys):
    folder = settings.cycle_folder("my-log", "2026-03-01")
    folder.mkdir(parents=True)
    words = ["accept-data", "--source", "my-log", "--cycle", "2026-03-01", "--by", "ann", "--reason"]
    assert main([*words, "down"]) == 1
    assert "no suite of cycle 2026-03-01 of my-log is red" in capsys.readouterr().err
    acceptance.found_red(folder, "validate_events", "digest", ["events.volume_drift"], [])
    assert main([*words, " "]) == 1
    assert main([*words, "down"]) == 0
    assert (
        "validate_events of cycle 2026-03-01: events.volume_drift; accepted by ann" in capsys.readouterr().out
    )


def test_a_source_is_said_to_have_moved(settings, tmp_path, capsys):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my.toml").write_text(OWN)
    words = ["move-source", "--reason", "new disk", "--source"]
    assert main([*words, str(tmp_path / "one" / "my.toml")]) == 0
    assert main([*words, str(tmp_path / "two" / "my.toml")]) == 0
    told = capsys.readouterr().out
    assert f"my-log: from {tmp_path}/one/*.csv to {tmp_path}/two/*.csv" in told
    assert main([*words, str(tmp_path / "two" / "my.toml")]) == 0
    assert "my-log is where it was" in capsys.readouterr().out


def test_the_commands_that_mend_data_are_given_what_was_asked(settings, tmp_path, monkeypatch):
    (tmp_path / "my.toml").write_text(OWN)
    given = []
    for module, name in (
        (files, "withdraw"),
        (files, "undo_withdrawal"),
        (files, "replay_rejected"),
        (users, "erase_user"),
    ):
        monkeypatch.setattr(
            module, name, lambda config, settings, what, *rest, name=name: given.append((name, what))
        )
    source = ["--source", str(tmp_path / "my.toml")]
    assert main(["withdraw", "a.csv", *source]) == main(["withdraw", "a.csv", "--undo", *source]) == 0
    assert main(["replay-rejected", *source]) == main(["replay-rejected", "--reason", "bad", *source]) == 0
    assert main(["erase-user", "u1", *source]) == 0
    assert given == [
        ("withdraw", "a.csv"),
        ("undo_withdrawal", "a.csv"),
        ("replay_rejected", None),
        ("replay_rejected", "bad"),
        ("erase_user", "u1"),
    ]
