from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from airflow import plugins_manager
from airflow._shared.module_loading import find_path_from_directory

from pipeline.local.service_settings import airflow_environment
from pipeline.settings import CHECKOUT, Settings
from pipeline.timetable import CutoffTimetable

FOLDER = CHECKOUT / "dags" / "plugins"


def test_airflow_registers_the_timetable():
    assert plugins_manager.get_timetables_plugins()["pipeline.timetable.CutoffTimetable"] is CutoffTimetable
    assert plugins_manager.get_import_errors() == {}


def test_airflow_does_not_search_the_folder_for_dags():
    searched = {
        Path(path).name for path in find_path_from_directory(CHECKOUT / "dags", ".airflowignore", "glob")
    }
    assert "refresh_cycle.py" in searched
    assert "reprise_plugin.py" not in searched


def test_the_local_airflow_reads_a_stored_timetable_back(tmp_path: Path):
    # A process as the scheduler or the API server is: it never reads the DAG file.
    script = (
        "from airflow.serialization.decoders import decode_timetable\n"
        "data = {'first': '2026-01-01T00:00:00+00:00', 'interval_seconds': 86400.0, 'last': None}\n"
        "print(decode_timetable({'__type': 'pipeline.timetable.CutoffTimetable', '__var': data}).summary)\n"
    )
    environment = airflow_environment(Settings.at(tmp_path / "home"), "ml-100k", 8080)
    assert environment["AIRFLOW__CORE__PLUGINS_FOLDER"] == str(FOLDER)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    answer = subprocess.run(
        [sys.executable, "-c", script],
        check=True, capture_output=True, text=True, cwd=tmp_path, env=inherited | environment,
    )  # fmt: skip
    assert answer.stdout.splitlines()[-1] == "every day from 2026-01-01"
