"""The one program: stages for Airflow, and everything a person asks for.

    python -m pipeline --list                    the map of stages
    python -m pipeline cycle --source my.toml --cutoff 2026-03-01
    python -m pipeline STAGE --source ml-100k --cutoff 1998-03-26
    python -m pipeline status | promote | rollback | release | config | check-source | land

Exit code 0 is done, 99 is "refused" (a result, not an error), 75 is "try again later" (another
cycle holds the source), 1 is an error that trying again cannot help, 70 a crash; each is told in
one line, the last.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import traceback
from datetime import UTC, datetime

from pipeline import presets
from pipeline.config import Config
from pipeline.cycle.files import full_disk
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import BY_NAME, STAGES

REFUSED = 99
TRY_LATER = 75
FAILED = 1
CRASHED = 70


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    from pipeline.cycle.lease import SourceBusyError

    options = _parser().parse_args(arguments)
    if options.list:
        from pipeline.report.screens import map_screen

        print(map_screen())
        return 0
    if options.command is None:
        _parser().print_help()
        return 2
    try:
        return _COMMANDS.get(options.command, _stage)(options, Settings.from_environment())
    except SourceBusyError as error:
        print(f"later: {error}", file=sys.stderr)
        return TRY_LATER
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001  (the last place where an error becomes one line)
        told = full_disk(error, Settings.from_environment()) or (str(error) if _is_told(error) else None)
        if options.trace or told is None:
            traceback.print_exc()
        print(f"error: {options.command}: {_one_line(told, error)}", file=sys.stderr)
        return CRASHED if told is None else FAILED


def _is_told(error: Exception) -> bool:
    """Whether the message alone says what was wrong: an error that this project defines."""
    return type(error).__module__.split(".")[0] in ("pipeline", "spark_jobs", "model", "expectations")


def _one_line(told: str | None, error: Exception) -> str:
    """What was told, whole; of a crash the first line, since the traceback above has the others."""
    lines = str(error if told is None else told).strip().splitlines()[: 1 if told is None else None]
    return " ".join(line.strip() for line in lines) or type(error).__name__


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
    from pipeline.cycle.definition import resolve_cycle

    return resolve_cycle(
        cutoff=options.cutoff,
        run_type=options.run_type,
        interval_start=options.interval_start,
        interval_end=options.interval_end,
    )


def _resolve(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.cycle.definition import cycle_name, resolve
    from pipeline.sources import land

    config, cutoff = _config(options), _cutoff(options)
    lease.take(settings, config.source.name, cycle_name(cutoff))
    land(config.source.name, settings, say)
    cycle = resolve(config, cutoff, settings, run_type=options.run_type, cold_start=options.cold_start)
    _say_cycle(cycle)
    return 0


def _say_cycle(cycle) -> None:
    parent = (
        f"parent version {cycle.parent.version} (cycle {cycle.parent.cycle})"
        if cycle.parent
        else "cold start"
    )
    say(
        f"cycle {cycle.name} of {cycle.source}: split {cycle.split:%Y-%m-%d %H:%M}, cutoff {cycle.cutoff:%Y-%m-%d %H:%M} UTC, {parent}"
    )


def _stage(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle.definition import cycle_name, load_cycle
    from pipeline.runner import run_stage

    config = _config(options)
    cycle = load_cycle(settings, config.source.name, cycle_name(_cutoff(options)))
    outcome = run_stage(BY_NAME[options.command], config, cycle, settings, say)
    if outcome.record.refused:
        say(f"{options.command}: refused: {outcome.record.refused}")
        return REFUSED
    say(f"{options.command}: done" + (f" in {outcome.record.seconds:.1f} s" if outcome.worked else ""))
    return 0


def _cycle(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.cycle.definition import cycle_name, resolve
    from pipeline.report import screens as status
    from pipeline.runner import run_cycle
    from pipeline.sources import land

    config, cutoff = _config(options), _cutoff(options)
    source, name = config.source.name, cycle_name(cutoff)
    with lease.holding(settings, source, name):
        land(source, settings, say)
        cycle = resolve(config, cutoff, settings, run_type=options.run_type, cold_start=options.cold_start)
        _say_cycle(cycle)
        outcomes = run_cycle(config, cycle, settings, say)
    print(status.cycle_screen(settings, source, [name]))
    return REFUSED if any(outcome.record.refused for outcome in outcomes.values()) else 0


def _release(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.cycle import lease
    from pipeline.cycle.definition import cycle_name

    name = cycle_name(_cutoff(options)) if options.cutoff or options.interval_end else None
    source = _source_name(options, settings)
    held = lease.release(settings, source, name)
    say(f"{source}: released by cycle {held}" if held else f"{source}: nothing to release")
    return 0


def _land(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.sources import land

    land(_config(options).source.name, settings, say)
    return 0


def _status(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.report import screens as status

    print(status.screen(settings, _source_name(options, settings) if options.source else None))
    return 0


def _show_config(options: argparse.Namespace, settings: Settings) -> int:
    config = _config(options)
    print(config.model_dump_json(indent=2))
    print(f"digest {config.digest}", file=sys.stderr)
    return 0


def _check_source(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.sources.check import check_source

    check_source(presets.load(options.file, options.preset), settings, print)
    return 0


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.registry.promotion import promote_version

    if options.version is None:
        return _stage(options, settings)
    say(promote_version(settings, _source_name(options, settings), options.version))
    return 0


def _rollback(options: argparse.Namespace, settings: Settings) -> int:
    from pipeline.registry.promotion import rollback

    say(rollback(settings, _source_name(options, settings)))
    return 0


_COMMANDS = {
    "resolve": _resolve,
    "cycle": _cycle,
    "release": _release,
    "land": _land,
    "status": _status,
    "config": _show_config,
    "check-source": _check_source,
    "promote": _promote,
    "rollback": _rollback,
}


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--source",
        default=os.environ.get("REPRISE_SOURCE", "ml-100k"),
        help="a packaged source, or the path of a TOML file (default: %(default)s)",
    )
    common.add_argument(
        "--preset",
        choices=sorted(presets.PRESETS),
        help=f"a named run (default: the TOML file's `preset`, else {presets.DEFAULT})",
    )
    common.add_argument("--trace", action="store_true", help="show the traceback of an error")
    run = argparse.ArgumentParser(add_help=False, parents=[common])
    run.add_argument("--cutoff", help="date or instant in UTC, for instance 2026-03-01")
    run.add_argument("--run-type", default="manual", choices=("manual", "scheduled", "backfill"))
    run.add_argument("--interval-start", help="start of a scheduled run's data interval")
    run.add_argument("--interval-end", help="end of a scheduled run's data interval")
    run.add_argument("--cold-start", action="store_true", help="train from scratch, without a parent")

    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description="Reprise: keeps a generative recommender fresh."
    )
    parser.add_argument("--list", action="store_true", help="the map: every stage, what it reads and writes")
    parser.set_defaults(trace=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("cycle", parents=[run], help="a whole cycle without Airflow")
    commands.add_parser(
        "land", parents=[common], help="fetch or copy a packaged source's files to the landing folder"
    )
    commands.add_parser("release", parents=[run], help="end the lease of a cycle that no longer runs")
    status = commands.add_parser("status", help="cycles, versions, what is live")
    status.add_argument("--source", help="one source only")
    status.add_argument("--preset", help=argparse.SUPPRESS)
    show = commands.add_parser("config", parents=[common], help="the whole configuration of a run")
    show.add_argument("--show", action="store_true", help="print it (the default)")
    check = commands.add_parser(
        "check-source", parents=[common], help="what a mapping understands of its log"
    )
    check.add_argument("file", help="the TOML file, or a packaged source")
    promote = commands.add_parser(
        "promote", parents=[run], help="a cycle's stage; with a number: make that version the champion"
    )
    promote.add_argument("version", type=int, nargs="?", help="a registered version")
    commands.add_parser("rollback", parents=[common], help="make the previous champion live again")
    commands.add_parser("resolve", parents=[run], help=BY_NAME["resolve"].title)
    for stage in STAGES:
        if stage.name != "promote":
            commands.add_parser(stage.name, parents=[run], help=stage.title)
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Python's last walks over all objects take two seconds where torch is loaded, and free nothing.
    gc.freeze()
    sys.exit(code)
