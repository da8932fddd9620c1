"""The one program: stages for Airflow, and everything a person asks for.

    python -m pipeline --list                    the map of stages
    python -m pipeline cycle --source my.toml --cutoff 2026-03-01
    python -m pipeline STAGE --source ml-100k --cutoff 1998-03-26
    python -m pipeline status | tables | promote | rollback | release | config | check-source | land
    python -m pipeline accept-data | withdraw | replay-rejected | erase-user | move-source | maintain | replay

Exit codes are `pipeline.errors.Exit`; the last line printed says how the command ended.
"""

from __future__ import annotations

import argparse
import gc
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from expectations.crash_points import inside
from pipeline import presets
from pipeline.command_line import parser
from pipeline.config import Config
from pipeline.errors import Exit, explanation, one_line
from pipeline.settings import Settings
from pipeline.workflows import crash_points
from pipeline.workflows.refresh_cycle import workflow
from spark_jobs.lake import warm_jvm

if TYPE_CHECKING:
    from pipeline.cycle.definition import Cycle


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    from pipeline.cycle.lease import SourceBusyError

    options = parser().parse_args(arguments)
    if options.command is None and not options.list:
        parser().print_help()
        return Exit.USAGE
    command = "--list" if options.list else options.command
    settings = Settings.from_environment()
    try:
        crash_points.check()
        return _COMMANDS.get(command, _stage)(options, settings)
    except SourceBusyError as error:
        print(f"later: {error}", file=sys.stderr)
        return Exit.TRY_LATER
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001  (the last place where an error becomes one line)
        message = explanation(error, settings)
        if options.trace or message is None:
            traceback.print_exc()
        print(f"error: {command}: {one_line(error, message)}", file=sys.stderr)
        return Exit.CRASHED if message is None else Exit.FAILED


def say(text: str) -> None:
    """One line of progress with the time of day."""
    print(f"[{datetime.now(UTC):%H:%M:%S}] {text}", flush=True)


def _config(options: argparse.Namespace) -> Config:
    return presets.load(options.source, options.preset)


def _source_name(options: argparse.Namespace, settings: Settings) -> str:
    """The name of the source, for commands that need no more of it: where it has run in this home, its
    name alone is enough."""
    states = (settings.home / "cycles", settings.home / "leases")
    known = {path.stem for folder in states for path in folder.glob("*") if path.suffix in ("", ".json")}
    return options.source if options.source in known else _config(options).source.name


def _cutoff(options: argparse.Namespace) -> datetime:
    from pipeline.stages.resolve import resolve_cycle

    return resolve_cycle(
        cutoff=options.cutoff,
        run_type=options.run_type,
        interval_start=options.interval_start,
        interval_end=options.interval_end,
    )


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.report.screens import map_screen

    print(map_screen(workflow(_config(options))))
    return Exit.DONE


def _resolve(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.cycle.definition import cycle_name

    config, cutoff = _config(options), _cutoff(options)
    with lease.taking(settings, config.source.name, cycle_name(cutoff)):
        _begin(options, config, cutoff, settings)
    return Exit.DONE


def _begin(options: argparse.Namespace, config: Config, cutoff: datetime, settings: Settings) -> Cycle:
    """The cycle, resolved under a lease that the caller holds."""
    from pipeline.cycle import lease
    from pipeline.cycle.definition import cycle_name
    from pipeline.stages.resolve import resolve

    stage = workflow(config).resolve.name
    with lease.working(settings, config.source.name, cycle_name(cutoff), stage), inside(stage):
        return resolve(
            config, cutoff, settings, run_type=options.run_type, cold_start=options.cold_start, say=say
        )


def _stage(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle.definition import cycle_name, load_cycle
    from pipeline.runner import run_stage

    config = _config(options)
    cycle = load_cycle(settings, config.source.name, cycle_name(_cutoff(options)))
    outcome = run_stage(options.command, config, cycle, settings, say)
    if outcome.record.refused:
        say(f"{options.command}: refused: {outcome.record.refused}")
        return Exit.REFUSED
    say(f"{options.command}: done" + (f" in {outcome.record.seconds:.1f} s" if outcome.worked else ""))
    return Exit.DONE


def _cycle(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.cycle.definition import cycle_name
    from pipeline.report import screens
    from pipeline.runner import run_cycle

    config, cutoff = _config(options), _cutoff(options)
    source, name = config.source.name, cycle_name(cutoff)
    with lease.holding(settings, source, name):
        cycle = _begin(options, config, cutoff, settings)
        outcomes = run_cycle(config, cycle, settings, say)
    print(screens.cycle_screen(settings, source, [name]))
    refused = any(outcome.record.refused for outcome in outcomes.values())
    return Exit.REFUSED if refused else Exit.DONE


def _release(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.cycle.definition import cycle_name

    name = cycle_name(_cutoff(options)) if options.cutoff or options.interval_end else None
    source = _source_name(options, settings)
    held = lease.release(settings, source, name)
    say(f"{source}: released by cycle {held}" if held else f"{source}: nothing to release")
    return Exit.DONE


def _land(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.sources import land

    land(_config(options).source.name, settings, say)
    return Exit.DONE


def _status(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.report import screens

    print(screens.screen(settings, _source_name(options, settings) if options.source else None))
    return Exit.DONE


def _tables(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.report import screens

    print(screens.tables_screen(settings, _source_name(options, settings)))
    return Exit.DONE


def _show_config(options: argparse.Namespace, settings: Settings) -> int:
    config = _config(options)
    print(config.model_dump_json(indent=2))
    print(f"digest {config.digest}", file=sys.stderr)
    return Exit.DONE


def _check_source(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.sources.check import check_source

    check_source(presets.load(options.file, options.preset), settings, print)
    return Exit.DONE


def _accept_data(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import acceptance, corrections

    source = _source_name(options, settings)
    why = corrections.said(options.reason, options.by)
    for stage, word in acceptance.accept(settings, source, options.cycle, why).items():
        say(f"{stage} of cycle {options.cycle}: {', '.join(word.expectations)}; {word.words}")
    say("give the cycle's command again, or clear its task: it passes once, over the data that was judged")
    return Exit.DONE


def _withdraw(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import corrections
    from pipeline.mending import files

    config = _config(options)
    if options.undo:
        files.undo_withdrawal(config, settings, options.file, say)
    else:
        files.withdraw(config, settings, options.file, corrections.said(options.reason, options.by), say)
    return Exit.DONE


def _replay_rejected(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import corrections
    from pipeline.mending import files

    why = corrections.said(options.reason or "every refused line", options.by)
    files.replay_rejected(_config(options), settings, options.reason, why, say)
    return Exit.DONE


def _erase_user(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import corrections
    from pipeline.mending import users

    why = corrections.said(options.reason, options.by)
    users.erase_user(_config(options), settings, options.user, why, say)
    return Exit.DONE


def _move_source(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import corrections, identity, lease

    config = _config(options)
    why = corrections.said(options.reason, options.by)
    with lease.mending(settings, config.source.name, "move-source"):
        before, now = identity.move(config, settings, why)
    if before == now:
        say(f"{config.source.name} is where it was: {', '.join(now)}")
    else:
        say(f"{config.source.name}: from {', '.join(before) or 'nowhere'} to {', '.join(now)}")
    return Exit.DONE


def _maintain(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.maintenance.maintain import maintain

    maintain(_config(options), settings, say, options.dry_run)
    return Exit.DONE


def _replay(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.maintenance.replay import replay, require_same
    from pipeline.report import screens

    source = _source_name(options, settings)
    found = replay(settings, source, options.version, say)
    print(screens.replay_screen(source, options.version, found))
    require_same(found, options.version)
    return Exit.DONE


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.registry.promotion import promote_version

    if options.version is None:
        return _stage(options, settings)
    source = _source_name(options, settings)
    with lease.moving_alias(settings, source):
        say(promote_version(settings, source, options.version))
    return Exit.DONE


def _rollback(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.registry.promotion import rollback

    source = _source_name(options, settings)
    with lease.moving_alias(settings, source):
        say(rollback(settings, source))
    return Exit.DONE


_COMMANDS = {
    "--list": _list,
    "resolve": _resolve,
    "cycle": _cycle,
    "release": _release,
    "land": _land,
    "status": _status,
    "tables": _tables,
    "config": _show_config,
    "check-source": _check_source,
    "accept-data": _accept_data,
    "withdraw": _withdraw,
    "replay-rejected": _replay_rejected,
    "erase-user": _erase_user,
    "move-source": _move_source,
    "maintain": _maintain,
    "replay": _replay,
    "promote": _promote,
    "rollback": _rollback,
}


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    if code in (Exit.DONE, Exit.REFUSED, Exit.TRY_LATER):
        warm_jvm.give_back()
    # At exit Python walks over every object: two seconds once torch is loaded, for nothing.
    gc.freeze()
    sys.exit(code)
