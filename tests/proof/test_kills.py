"""A cycle that is killed in the middle of `sequences` or `train` and run again ends with the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from expectations.tables import location
from model.training.checkpoint import digest_of_weights
from pipeline.settings import CHECKOUT, Settings

SOURCE, CUTOFF = "ml-100k", "1998-02-26"
LIMIT_SECONDS = 900


def start(settings: Settings, log: Path) -> subprocess.Popen:
    """Starts `python -m pipeline cycle` in its own process group."""
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "cycle",
        "--source",
        SOURCE,
        "--cutoff",
        CUTOFF,
        "--preset",
        "quick",
    ]
    environment = {**os.environ, "REPRISE_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
    with log.open("w") as output:
        return subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def kill_when(settings: Settings, log: Path, ready: Callable[[str], bool]) -> None:
    """Starts the cycle and kills its whole group once `ready` is true of its output."""
    process = start(settings, log)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not ready(log.read_text()):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def result_of(settings: Settings, log: Path) -> dict:
    """Runs the cycle to its end; returns the contents of its tables, ranks included, and digests of its weights."""
    assert start(settings, log).wait(LIMIT_SECONDS) in (0, 99), log.read_text()[-2000:]
    tables = {}
    for name in ("events", "vocabulary", "sequences", "ranks"):
        rows = DeltaTable(location(settings.lake, SOURCE, name)).to_pyarrow_table().to_pylist()
        tables[name] = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)
    folders = settings.home.glob(f"checkpoints/{SOURCE}/{CUTOFF}/*")
    return tables | {folder.name: digest_of_weights(folder) for folder in folders}


@pytest.fixture(scope="module")
def make_home(tmp_path_factory) -> Callable[[], Settings]:
    def make() -> Settings:
        settings = Settings.at(tmp_path_factory.mktemp("home"))
        default = Settings.from_environment()
        settings.jars.symlink_to(default.jars)
        landing = default.landing(SOURCE)
        if landing.exists():
            settings.landing(SOURCE).parent.mkdir(parents=True)
            settings.landing(SOURCE).symlink_to(landing)
        return settings

    return make


@pytest.fixture(scope="module")
def unbroken(make_home, tmp_path_factory) -> dict:
    return result_of(make_home(), tmp_path_factory.mktemp("logs") / "unbroken.log")


def test_killed_in_the_middle_of_sequences(make_home, unbroken, tmp_path):
    settings, started = make_home(), []

    def ready(text: str) -> bool:
        if "sequences: single-token" in text and not started:
            started.append(time.monotonic())
        return bool(started) and time.monotonic() - started[0] > 0.7

    kill_when(settings, tmp_path / "killed.log", ready)
    assert not (settings.cycle_folder(SOURCE, CUTOFF) / "stage-sequences.json").exists()
    assert result_of(settings, tmp_path / "again.log") == unbroken


def test_killed_in_the_middle_of_train(make_home, unbroken, tmp_path):
    settings = make_home()
    folder = settings.checkpoint_folder(SOURCE, CUTOFF, "candidate")

    def ready(text: str) -> bool:
        # The name of one that is still being written begins with a dot.
        return any(folder.glob("partial/[0-9]*/state.json"))

    kill_when(settings, tmp_path / "killed.log", ready)
    assert not (settings.cycle_folder(SOURCE, CUTOFF) / "stage-train.json").exists()
    assert result_of(settings, tmp_path / "again.log") == unbroken
    assert "resum" in (tmp_path / "again.log").read_text()
