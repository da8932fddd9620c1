"""A real Airflow backfills three past cycles; their results equal those of the same cycles run in order."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from expectations.tables import location
from model.training.checkpoint import digest_of_weights
from pipeline.local import control
from pipeline.local.airflow_api import ACTIVE, Airflow
from pipeline.local.service_settings import LOOPBACK, USER, password
from pipeline.local.services import airflow_services
from pipeline.registry import tracking
from pipeline.settings import CHECKOUT, Settings
from tests.docker.test_real_services import free_port
from tests.end_to_end.conftest import configuration
from tests.factories import CUTOFFS, tiny_log

DAG = "refresh_cycle"
LIMIT_SECONDS = 3600
TABLES = (
    "vocabulary",
    "item_features",
    "sequences",
    "evaluation_sequences",
    "item_signals",
    "successors",
    "ranks",
)


def as_toml(content: dict[str, Any], name: str = "") -> str:
    """Nested plain values as TOML, without those that are None."""
    plain = {key: value for key, value in content.items() if not _is_table(value) and value is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in content.items():
        path = f"{name}.{key}" if name else key
        for table in value if isinstance(value, list) and _is_table(value) else [value]:
            if isinstance(table, dict):
                head = f"[[{path}]]" if isinstance(value, list) else f"[{path}]"
                lines += ["", head, as_toml(table, path)]
    return "\n".join(lines)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    """The tiny log, and the TOML file that maps it and schedules its three cycles."""
    log = tiny_log(tmp_path / "landing")
    content = configuration().model_dump(mode="json", exclude={"preset"}, exclude_none=True)
    content["source"]["landing"] = str(log.folder)
    content["schedule"] |= {
        "start_date": CUTOFFS[0].date().isoformat(),
        "end_date": CUTOFFS[-1].date().isoformat(),
    }
    path = tmp_path / "tiny.toml"
    path.write_text(as_toml(content) + "\n")
    return path


def home(folder: Path) -> Settings:
    settings = Settings.at(folder)
    folder.mkdir()
    settings.jars.symlink_to(Settings.from_environment().jars)
    return settings


def run(settings: Settings, words: list[str], mapping: Path, port: int) -> None:
    environment = {
        **os.environ,
        "REPRISE_HOME": str(settings.home),
        "REPRISE_SOURCE": str(mapping),
        "REPRISE_AIRFLOW_PORT": str(port),
    }
    subprocess.run([sys.executable, "-m", *words], cwd=CHECKOUT, env=environment, check=True)


def rows(settings: Settings, table: str) -> list[str]:
    content = DeltaTable(location(settings.lake, "tiny", table)).to_pyarrow_table().to_pylist()
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in content)


def finished_runs(airflow: Airflow, count: int) -> list[dict[str, Any]]:
    """Waits until all runs of the backfill have ended; returns them by start."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        runs = airflow.runs(DAG, "backfill")
        if len(runs) == count and not any(run["state"] in ACTIVE for run in runs):
            return sorted(runs, key=lambda run: run["start_date"])
        assert time.monotonic() < deadline, runs
        time.sleep(2)


def test_a_backfill_by_airflow_equals_the_cycles_run_in_time_order(mapping, tmp_path):
    backfilled, in_order, port = home(tmp_path / "backfilled"), home(tmp_path / "in-order"), free_port()
    try:
        control.prepare_airflow(backfilled, str(mapping), port)
        control.start(backfilled, airflow_services(backfilled, str(mapping), port))
        airflow = Airflow(f"http://{LOOPBACK}:{port}", USER, password(backfilled))
        airflow.wait_for_dag(DAG)
        airflow.set_paused(DAG, False)
        words = ["pipeline.local", "airflow", "backfill", "create", "--dag-id", DAG]
        words += ["--from-date", CUTOFFS[0].date().isoformat(), "--to-date", CUTOFFS[-1].date().isoformat()]
        run(backfilled, [*words, "--max-active-runs", "1", "--reprocess-behavior", "failed"], mapping, port)
        runs = finished_runs(airflow, len(CUTOFFS))
    finally:
        control.stop(backfilled)

    assert [done["state"] for done in runs] == ["success"] * len(CUTOFFS)
    assert [done["data_interval_end"][:10] for done in runs] == [
        cutoff.date().isoformat() for cutoff in CUTOFFS
    ]
    assert all(before["end_date"] <= after["start_date"] for before, after in itertools.pairwise(runs))
    assert tracking.champion_version(backfilled, "tiny") is None
    for cutoff in CUTOFFS:
        words = ["pipeline", "cycle", "--source", str(mapping), "--cutoff", cutoff.date().isoformat()]
        run(in_order, words, mapping, port)
    assert tracking.champion_version(in_order, "tiny") is not None
    for table in TABLES:
        assert rows(backfilled, table) == rows(in_order, table), table
    for cutoff in CUTOFFS:
        folders = [
            settings.checkpoint_folder("tiny", cutoff.date().isoformat(), "candidate")
            for settings in (backfilled, in_order)
        ]
        assert digest_of_weights(folders[0]) == digest_of_weights(folders[1])
