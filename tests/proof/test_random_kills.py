"""SIGKILL at random instants of random stages: the same command afterwards leaves what an undisturbed stage leaves.

    REPRISE_KILLS=100 REPRISE_KILL_SEED=1 pytest -m proof tests/proof/test_random_kills.py

The tiny log's second cycle, before which the last of its files land, runs stage by stage; what each stage began with is
kept by hard links, and what it left as digests. Then, for every kill, a stage is drawn, begins again with what it began with, and is killed after a drawn part of its
undisturbed time: the whole group of its processes, its Python process alone (as the kernel does when memory is short;
the JVM lives on for a moment, beside the rerun), or its JVM alone. Half the kills come in the last third of the time, where
stages write. A failure names the kill; a seed always draws the same kills, and `-k kill17-` runs that one alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.workflows.refresh_cycle import workflow
from tests.end_to_end.conftest import configuration
from tests.factories import CUTOFFS
from tests.proof.fork_server import ForkServer, Process
from tests.proof.tiny_home import TinyHome

KILLS = int(os.environ.get("REPRISE_KILLS", "100"))
SEED = int(os.environ.get("REPRISE_KILL_SEED", "1"))
FIRST, SECOND = (cutoff.date().isoformat() for cutoff in CUTOFFS[:2])
STAGES = tuple(stage.name for stage in workflow(configuration()))
TRIES = 3
"""A rerun beside a JVM that has outlived its Python process may find it in the way: Airflow tries again too."""


class Kill(NamedTuple):
    """One kill of the plan."""

    number: int
    stage: str
    part: float
    """Part of the stage's undisturbed time."""
    victim: str


def plan(seed: int, kills: int) -> list[Kill]:
    rng = random.Random(seed)
    drawn = []
    for number in range(1, kills + 1):
        stage = rng.choice(STAGES)
        part = rng.uniform(*rng.choice(((0.0, 1.0), (2 / 3, 1.0))))
        drawn.append(Kill(number, stage, part, rng.choice(("group", "group", "python", "jvm"))))
    return drawn


class Bench:
    """A second cycle of the tiny log, of which any stage can begin again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, TinyHome(folder)
        late = _taken_out(self.home.landing)
        self.server = ForkServer(self.home.settings.home)
        self.seconds: dict[str, float] = {}
        self.left: dict[str, dict[str, Any]] = {}
        self._undisturbed("cycle", FIRST)
        (self.home.landing / "events-late.jsonl").write_text("".join(late))
        for stage in STAGES:
            self.home.put_away(self.before(stage))
            self.seconds[stage] = self._undisturbed(stage, SECOND)
            self.left[stage] = self.state()

    def _undisturbed(self, command: str, cycle: str) -> float:
        """Seconds that the command takes."""
        started = time.monotonic()
        process = self.start(command, cycle)
        assert process.wait() == 0, self.log.read_text()[-3000:]
        seconds = time.monotonic() - started
        process.end_group()
        return seconds

    @property
    def log(self) -> Path:
        return self.folder / "stage.log"

    def before(self, stage: str) -> Path:
        return self.folder / "before" / stage

    def start(self, command: str, cycle: str = SECOND) -> Process:
        return self.server.start(self.home.words(command, cycle), self.log)

    def state(self) -> dict[str, Any]:
        return self.server.state(self.home.settings.home, self.folder)


def _taken_out(landing: Path) -> list[str]:
    """Takes the lines from the first cutoff on out of the landed event files, malformed ones too."""
    late: list[str] = []
    for path in sorted(landing.glob("events-*.jsonl")):
        lines = path.read_text().splitlines(keepends=True)
        early = [line for line in lines if 0 < _seconds(line) < CUTOFFS[0].timestamp()]
        late += [line for line in lines if line not in early]
        path.write_text("".join(early))
    return late


def _seconds(line: str) -> float:
    try:
        return json.loads(line)["ts"]
    except ValueError:
        return 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("kills"))
    yield made
    made.server.close()


@pytest.mark.parametrize(
    "kill",
    plan(SEED, KILLS),
    ids=lambda kill: f"kill{kill.number}-{kill.stage}-{kill.part:.3f}-{kill.victim}",
)
def test_a_stage_that_is_killed_and_run_again_leaves_what_it_would_have(bench, kill):
    bench.home.put_back(bench.before(kill.stage))
    killed = bench.start(kill.stage)
    time.sleep(kill.part * bench.seconds[kill.stage])
    killed.kill(kill.victim)
    code = killed.wait()
    # Of a stage whose JVM alone was killed Python tells; one without a JVM is killed itself.
    assert code in (-signal.SIGKILL, 0, 1, 70), bench.log.read_text()[-3000:]
    told = f"{kill}, killed with exit code {code}:\n{bench.log.read_text()[-3000:]}"
    for _ in range(TRIES):
        again = bench.start(kill.stage)
        code = again.wait()
        again.end_group()
        if code == 0:
            break
        told += f"\nrun again with exit code {code}:\n{bench.log.read_text()[-3000:]}"
    killed.end_group()
    assert code == 0, told
    assert bench.state() == bench.left[kill.stage], told
