"""The arguments of `python -m pipeline`: commands in groups, each with an example and its exit codes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import indent

from pipeline import presets
from pipeline.errors import Exit
from pipeline.workflows.refresh_cycle import MAX_RUNGS, RESOLVE, refresh_cycle, rung_stage
from pipeline.workflows.stage import Stage

EXIT_WORDS = {
    Exit.DONE: "done",
    Exit.FAILED: "failed; the last line says what is wrong and what to do",
    Exit.USAGE: "wrong arguments",
    Exit.CRASHED: "crashed; the traceback precedes the last line, and a retry may help",
    Exit.TRY_LATER: "another cycle holds the source; retry later",
    Exit.REFUSED: "the candidate was refused: a result, not an error",
    Exit.INTERRUPTED: "interrupted; the same command continues",
}
_ALWAYS = (Exit.DONE, Exit.FAILED, Exit.USAGE, Exit.CRASHED, Exit.INTERRUPTED)


@dataclass(frozen=True)
class Command:
    """One command for a person, as its help shows it."""

    name: str
    help: str
    example: str
    """Arguments of a typical call."""
    exits: tuple[Exit, ...] = ()
    """Exit codes beside those that every command has."""


GROUPS: dict[str, tuple[Command, ...]] = {
    "Cycles": (
        Command(
            "cycle",
            "run a whole cycle without Airflow",
            "cycle --source my.toml --cutoff 2026-03-01",
            (Exit.TRY_LATER, Exit.REFUSED),
        ),
        Command("status", "show cycles, versions and what is live", "status --source ml-100k"),
        Command("tables", "show the version of every table that readers may use", "tables --source ml-100k"),
        Command("release", "end the lease of a cycle that no longer runs", "release --source ml-100k"),
        Command("land", "fetch a packaged source's files to the landing folder", "land --source ml-100k"),
    ),
    "Data that must be mended": (
        Command(
            "accept-data",
            "let a red suite pass once, with a reason that the record keeps",
            "accept-data --source my.toml --cycle 2026-03-01 --reason 'two days were lost at the source'",
        ),
        Command(
            "withdraw",
            "take a landed file's events out, and keep it out",
            "withdraw bots.jsonl --source my.toml --reason 'made by bots'",
            (Exit.TRY_LATER,),
        ),
        Command(
            "replay-rejected",
            "read refused lines again under today's mapping",
            "replay-rejected --source my.toml --reason 'unknown action'",
            (Exit.TRY_LATER,),
        ),
        Command(
            "erase-user",
            "remove a person from tables, versions, pages and landed files",
            "erase-user u42 --source my.toml --reason 'asked on 3 March'",
            (Exit.TRY_LATER,),
        ),
        Command(
            "move-source",
            "say that a source's files have moved to another folder",
            "move-source --source my.toml --reason 'new disk'",
            (Exit.TRY_LATER,),
        ),
    ),
    "The live model": (
        Command(
            "promote", "make a registered version the champion", "promote 3 --source ml-100k", (Exit.REFUSED,)
        ),
        Command("rollback", "make the previous champion live again", "rollback --source ml-100k"),
    ),
    "Sources": (
        Command("check-source", "show what a mapping reads and what it rejects", "check-source my.toml"),
        Command("config", "show the whole configuration of a run", "config --show --source my.toml"),
    ),
    "The home folder": (
        Command(
            "maintain",
            "compact tables, and remove what no cycle or version needs",
            "maintain --source my.toml --dry-run",
            (Exit.TRY_LATER,),
        ),
        Command(
            "replay",
            "make a version's tables again from its record and compare them",
            "replay 3 --source ml-100k",
            (Exit.TRY_LATER,),
        ),
    ),
}
NAME_WIDTH = 22
"""Columns of a command's name in the overview."""
STAGES = "Stages of a cycle (Airflow runs these; so can you)"


def parser() -> argparse.ArgumentParser:
    """The parser of every command and stage."""
    common, run = _common(), _run()
    top = argparse.ArgumentParser(
        prog="python -m pipeline",
        usage="python -m pipeline COMMAND [--source S] [--cutoff D] …",
        description=_overview(),
        epilog="python -m pipeline COMMAND --help shows a command's options, an example and its exit codes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--list", action="store_true", help="show the map: every stage, what it reads and writes"
    )
    top.set_defaults(trace=False, source=_default_source(), preset=None)
    commands = top.add_subparsers(
        dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog="python -m pipeline"
    )

    def add(command: Command, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(
            command.name,
            parents=parents,
            description=f"{command.help[:1].upper()}{command.help[1:]}.",
            epilog=_epilog(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    by_name = {command.name: command for group in GROUPS.values() for command in group}
    add(by_name["cycle"], common, run)
    status = add(by_name["status"])
    status.add_argument("--source", default=None, help="one source only (default: every source of the home)")
    status.add_argument("--preset", help=argparse.SUPPRESS)
    add(by_name["tables"], common)
    add(by_name["release"], common, run)
    add(by_name["land"], common)
    promote = add(by_name["promote"], common, run)
    promote.add_argument(
        "version", type=int, nargs="?", help="a registered version; without it, the stage of the cycle"
    )
    add(by_name["rollback"], common)
    check = add(by_name["check-source"], common)
    check.add_argument("file", help="the TOML file, or a packaged source")
    show = add(by_name["config"], common)
    show.add_argument("--show", action="store_true", help="print it (the default)")
    maintain = add(by_name["maintain"], common)
    maintain.add_argument(
        "--dry-run", action="store_true", help="say what would go and how many bytes; change nothing"
    )
    replay = add(by_name["replay"], common)
    replay.add_argument("version", type=int, help="a registered version")
    _add_mending(add, by_name, common)
    for stage in stages():
        if stage.name not in by_name:
            add(_stage_command(stage), common, run)
    return top


def _add_mending(
    add: Callable[..., argparse.ArgumentParser], commands: dict[str, Command], common: argparse.ArgumentParser
) -> None:
    """The commands of the group on data that must be mended."""
    why, who = (
        "why; it is kept with the name of who says it",
        "who says it (default: the user of this process)",
    )
    accept = add(commands["accept-data"], common)
    accept.add_argument("--cycle", required=True, help="name of the cycle, for instance 2026-03-01")
    withdraw = add(commands["withdraw"], common)
    withdraw.add_argument("file", help="name relative to the landing folder, or path, of a landed event file")
    withdraw.add_argument("--undo", action="store_true", help="let it in again with the next cycle")
    replay = add(commands["replay-rejected"], common)
    replay.add_argument(
        "--reason", help="only files with a line refused for a reason that contains this text"
    )
    erase = add(commands["erase-user"], common)
    erase.add_argument("user", help="the id of the user, as it is in the table events")
    move = add(commands["move-source"], common)
    for command, required in ((accept, True), (withdraw, False), (erase, False), (move, True)):
        command.add_argument("--reason", required=required, default="no reason given", help=why)
    for command in (accept, withdraw, replay, erase, move):
        command.add_argument("--by", help=who)


def stages() -> tuple[Stage, ...]:
    """Every stage that a configuration may have: `resolve`, and the rungs up to the largest number."""
    return tuple(refresh_cycle(["any size"] * MAX_RUNGS))


def _stage_command(stage: Stage) -> Command:
    refuses = stage.rung is not None or stage.name in ("train", "funnel")
    exits = (Exit.TRY_LATER, Exit.REFUSED) if refuses else (Exit.TRY_LATER,)
    return Command(stage.name, stage.title, f"{stage.name} --source ml-100k --cutoff 1998-03-26", exits)


def _default_source() -> str:
    return os.environ.get("REPRISE_SOURCE", "ml-100k")


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--source",
        default=_default_source(),
        help="a packaged source, or the path of a TOML file (default: %(default)s)",
    )
    common.add_argument(
        "--preset",
        choices=sorted(presets.PRESETS),
        help=f"a named run (default: the TOML file's `preset`, else {presets.DEFAULT})",
    )
    common.add_argument("--trace", action="store_true", help="show the traceback of an error")
    return common


def _run() -> argparse.ArgumentParser:
    run = argparse.ArgumentParser(add_help=False)
    run.add_argument(
        "--cutoff", help="end of the cycle: a date or an instant in UTC, for instance 2026-03-01"
    )
    run.add_argument(
        "--run-type",
        default="manual",
        choices=("manual", "scheduled", "backfill"),
        help="a backfill never moves the live alias (default: %(default)s)",
    )
    run.add_argument("--interval-start", help="start of a scheduled run's data interval")
    run.add_argument("--interval-end", help="end of a scheduled run's data interval; its cutoff")
    run.add_argument("--cold-start", action="store_true", help="train from scratch, without a parent")
    return run


def _overview() -> str:
    parts = ["Reprise keeps a generative recommender fresh.", ""]
    for title, group in GROUPS.items():
        parts += [f"{title}:", *(_row(command.name, command.help) for command in group)]
        parts += [f"  {'':<{NAME_WIDTH}}example: python -m pipeline {group[0].example}", ""]
    first = rung_stage(1)
    shown = [stage for stage in refresh_cycle(["the smallest size"]) if stage.name != "promote"]
    parts.append(f"{STAGES}:")
    for stage in shown:
        is_rung = stage.name == first
        name = f"{first} … {MAX_RUNGS}" if is_rung else stage.name
        parts.append(_row(name, "train and judge a small model of the funnel" if is_rung else stage.title))
    parts += [f"  {'':<{NAME_WIDTH}}example: python -m pipeline {_stage_command(RESOLVE).example}", ""]
    parts += ["Exit codes:", *(_row(str(int(code)), words) for code, words in EXIT_WORDS.items())]
    return "\n".join(parts)


def _row(name: str, words: str) -> str:
    return f"  {name:<{NAME_WIDTH}}{words}"


def _epilog(command: Command) -> str:
    codes = sorted({*_ALWAYS, *command.exits})
    lines = "\n".join(f"{code:>3}  {EXIT_WORDS[code]}" for code in codes)
    return f"example:\n  python -m pipeline {command.example}\n\nexit codes:\n{indent(lines, ' ')}"
