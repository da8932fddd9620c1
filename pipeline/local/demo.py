"""Two consecutive refresh cycles under a real Airflow, shown in the terminal (`make demo`).

    python -m pipeline.local.demo --source ml-100k

The cycles are those of the source's `schedule.demo_cutoffs`. Cycles that are already finished are not run
again; when both are, only their screen is printed. Otherwise the demo starts Airflow, triggers one run after
the other, shows each task as it ends, and reports for how much of the time no stage's process ran. It
watches Airflow from outside and knows nothing of what a stage does.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import presets
from pipeline.config import Config
from pipeline.cycle.definition import cutoff_of, cycle_name, load_cycle, read_cycle
from pipeline.disk import full_disk
from pipeline.errors import Exit
from pipeline.local import control, running
from pipeline.local.airflow_api import ACTIVE, Airflow, AirflowError
from pipeline.local.service_settings import LOOPBACK, USER, Ports, airflow_home, located, password
from pipeline.local.services import airflow_services
from pipeline.runner import is_finished
from pipeline.settings import Settings

DAG = "refresh_cycle"
LOOK_SECONDS = 0.4
"""Pause between two looks at the processes; every third look also queries Airflow."""

_PROGRESS = re.compile(r"\[\d\d:\d\d:\d\d\] (.+)")
_LAST_LINE = re.compile(r"(?:error|later): .+")

_EXAMPLES = """\
example:
  python -m pipeline.local.demo --source ifdb

exit codes:
  0    both cycles are finished, accepted or refused
  1    a cycle failed; one line on standard error says why, what to do, or where its log is
  130  interrupted; the same command continues
"""


class DemoError(RuntimeError):
    """A demo that cannot go on; the message is one line that says what to do."""


@dataclass
class Idle:
    """For how much of the time in which cycles ran no stage's process did."""

    looks: int = 0
    idle: int = 0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Fraction of the looks at which no stage's process ran."""
        return self.idle / self.looks if self.looks else 0.0


def demo(source: str, settings: Settings, say: Callable[[str], None] = print) -> None:
    """Runs those of the source's two demo cycles that are not finished, then prints their screen.

    Raises DemoError, ServiceError, AirflowError or a source's own error, each with a message of one line.
    """
    from pipeline.report import screens

    config = presets.load(source)
    cutoffs = config.schedule.demo_cutoffs
    if not cutoffs:
        raise DemoError(f"{source} names no schedule.demo_cutoffs; add two dates, one interval apart")
    days = {cycle_name(cutoff_of(day)): day.isoformat() for day in cutoffs}
    missing = [name for name in days if not _is_finished(config, settings, name)]
    if missing:
        say(f"{config.source.title or config.source.name}: cycles {', '.join(missing)}")
        _run(source, config, settings, {name: days[name] for name in missing}, say)
    else:
        say("both cycles are finished; nothing is run")
    print(screens.cycle_screen(settings, config.source.name, list(days)))


def _is_finished(config: Config, settings: Settings, name: str) -> bool:
    if read_cycle(settings, config.source.name, name) is None:
        return False
    return is_finished(config, load_cycle(settings, config.source.name, name), settings)


def _run(
    source: str, config: Config, settings: Settings, days: dict[str, str], say: Callable[[str], None]
) -> None:
    from pipeline.sources import land

    land(config.source.name, settings, say)
    port = Ports.from_environment().airflow
    ran_before = running.airflow_is_running(settings)
    control.prepare_airflow(settings, source, port, say)
    wanted = airflow_services(settings, source, port)
    # A DAG runs its own source, so an Airflow that runs for another source is restarted for this one.
    control.end_changed(settings, wanted, say)
    say("starting Airflow (about 20 s)")
    control.start(settings, wanted, say)
    airflow = Airflow(f"http://{LOOPBACK}:{port}", USER, password(settings))
    idle = Idle()
    try:
        airflow.wait_for_dag(DAG)
        _end_abandoned_runs(airflow, settings, ran_before, say)
        with _unpaused(airflow):
            for name, day in days.items():
                say(f"cycle {name}")
                run = airflow.trigger(DAG, {"cutoff": day}, f"{config.source.name}_{name}")
                _Watch(airflow, settings, run, idle).follow(name)
    finally:
        if not ran_before:
            control.stop(settings)
    say(f"Airflow: {idle.seconds:.0f} s in all, for {idle.share:.0%} of them no stage's process ran")


def _end_abandoned_runs(
    airflow: Airflow, settings: Settings, ran_before: bool, say: Callable[[str], None]
) -> None:
    """Marks as failed the active runs that make no progress: an interrupted demo or a stopped Airflow left
    them.

    Raises DemoError where an Airflow that ran before the demo is working on one: a stage's process runs,
    or the DAG is not paused, so that one will.
    """
    runs = airflow.active_runs(DAG)
    if runs and ran_before and (running.stage_is_running(settings) or not airflow.is_paused(DAG)):
        raise DemoError(
            f"Airflow works on the run {runs[0]} of {DAG}; wait for its end, or stop Airflow and all it runs: "
            "make stop"
        )
    for run in runs:
        airflow.end_run(DAG, run)
        say(f"ended the run {run} that an interrupted demo left")


@contextmanager
def _unpaused(airflow: Airflow) -> Iterator[None]:
    """Unpauses the DAG, and afterwards pauses it again if it was paused."""
    was_paused = airflow.is_paused(DAG)
    airflow.set_paused(DAG, False)
    try:
        yield
    finally:
        # Where Airflow no longer answers, the error that ended the demo says more.
        with suppress(AirflowError, OSError):
            airflow.set_paused(DAG, was_paused)


class _Watch:
    """Follows one run: prints a line for each task that ends, and on a terminal a line that is redrawn."""

    def __init__(self, airflow: Airflow, settings: Settings, run: str, idle: Idle) -> None:
        self._airflow, self._settings, self._run, self._idle = airflow, settings, run, idle
        self._printed: set[str] = set()
        self._live = sys.stdout.isatty()

    def follow(self, name: str) -> None:
        """Returns when the run succeeded. Raises DemoError when it failed, with the stage's last line."""
        begun, state, looks = time.monotonic(), "queued", 0
        while state in ACTIVE:
            self._idle.looks += 1
            self._idle.idle += not running.stage_is_running(self._settings)
            if looks % 3 == 0:
                state = self._airflow.state(DAG, self._run)
                self._show(self._airflow.tasks(DAG, self._run))
            looks += 1
            time.sleep(LOOK_SECONDS)
        self._idle.seconds += time.monotonic() - begun
        self._clear()
        tasks = self._airflow.tasks(DAG, self._run)
        failed = next((task for task in tasks if task["state"] == "failed"), None)
        if failed is not None or state != "success":
            stage = failed["task_id"] if failed else "a task"
            log = self._log(failed) if failed else airflow_home(self._settings) / "logs"
            raise DemoError(
                f"cycle {name}: {stage} failed: {_last(log, _LAST_LINE) or 'no message'}; its log: {log}"
            )

    def _show(self, tasks: list[dict]) -> None:
        ended = [
            task for task in tasks if task["state"] in ("success", "skipped", "failed") and task["end_date"]
        ]
        for task in sorted(ended, key=lambda task: task["end_date"]):
            if task["task_id"] not in self._printed:
                self._printed.add(task["task_id"])
                self._print(task)
        active = [task for task in tasks if task["state"] == "running"]
        if self._live and active:
            progress = [
                _last(self._log(task), _PROGRESS) or f"{task['task_id']}: starting" for task in active
            ]
            text = "  " + "   ".join(progress)
            print("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1], end="", flush=True)

    def _print(self, task: dict) -> None:
        if task["task_id"] == "in_order":
            return
        self._clear()
        note = "" if task["state"] == "success" else task["state"]
        if task["state"] == "success" and not self._live:
            note = _last(self._log(task), _PROGRESS) or ""
        print(f"  {task['task_id']:<22}{task['duration'] or 0.0:7.1f} s  {note}".rstrip(), flush=True)

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", flush=True)

    def _log(self, task: dict) -> Path:
        folder = airflow_home(self._settings) / "logs" / f"dag_id={DAG}" / f"run_id={self._run}"
        return folder / f"task_id={task['task_id']}" / f"attempt={max(task['try_number'], 1)}.log"


def _last(log: Path, pattern: re.Pattern[str]) -> str | None:
    """The last match in a task's log of JSON lines, of which the last may be half written."""
    if not log.exists():
        return None
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]):
        try:
            event = json.loads(line)["event"]
        except (ValueError, KeyError):
            continue
        match = pattern.search(event)
        if match:
            return match[match.lastindex or 0]
    return None


def main(arguments: list[str] | None = None) -> int:
    """`python -m pipeline.local.demo`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.local.demo",
        description="Two consecutive refresh cycles of a source under Airflow, and one screen about them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source", default="ml-100k", help="a packaged source, or a TOML file (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    # A demo that is terminated stops its services, as when it is interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings.from_environment()
    try:
        demo(located(options.source), settings)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return Exit.INTERRUPTED
    except (DemoError, AirflowError, RuntimeError, ValueError, OSError) as error:
        print(f"error: {full_disk(error, settings) or error}", file=sys.stderr)
        return Exit.FAILED
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
