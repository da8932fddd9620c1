"""The arguments of the program: groups, examples and exit codes of every command."""

from __future__ import annotations

import shlex

import pytest

from pipeline.command_line import EXIT_WORDS, GROUPS, parser, stages
from pipeline.errors import Exit
from pipeline.workflows.refresh_cycle import MAX_RUNGS, rung_stage

COMMANDS = [command for group in GROUPS.values() for command in group]


def test_the_overview_groups_every_command_with_examples_and_exit_codes(capsys):
    parser().print_help()
    overview = capsys.readouterr().out
    for title, group in GROUPS.items():
        assert f"{title}:" in overview and f"python -m pipeline {group[0].example}" in overview
        assert all(f"  {command.name} " in overview for command in group)
    for stage in stages():
        assert stage.rung is not None or f"  {stage.name} " in overview
    assert all(f"  {int(code)} " in overview for code in Exit)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_example_is_a_call_that_the_program_takes(command):
    options = parser().parse_args(shlex.split(command.example))
    assert options.command == command.name


@pytest.mark.parametrize("name", [*(command.name for command in COMMANDS), "train", "events", "rung_8"])
def test_every_command_shows_an_example_and_its_exit_codes(name, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([name, "--help"])
    text = capsys.readouterr().out
    assert f"example:\n  python -m pipeline {name}" in text
    assert "usage: python -m pipeline " + name in text
    assert EXIT_WORDS[Exit.FAILED] in text


def test_only_commands_that_can_refuse_say_so(capsys):
    says = {}
    for name in ("events", "train", "rung_1", "cycle", "status"):
        with pytest.raises(SystemExit):
            parser().parse_args([name, "--help"])
        says[name] = EXIT_WORDS[Exit.REFUSED] in capsys.readouterr().out
    assert says == {"events": False, "train": True, "rung_1": True, "cycle": True, "status": False}


def test_every_rung_that_a_configuration_may_have_is_a_command():
    for number in range(1, MAX_RUNGS + 1):
        assert parser().parse_args([rung_stage(number)]).command == rung_stage(number)
    with pytest.raises(SystemExit):
        parser().parse_args([rung_stage(MAX_RUNGS + 1)])


def test_the_preset_is_the_source_s_own_unless_one_is_given():
    assert parser().parse_args(["train"]).preset is None
    assert parser().parse_args(["train", "--preset", "quick"]).preset == "quick"
