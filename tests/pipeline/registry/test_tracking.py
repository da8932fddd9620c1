"""The store that a client speaks to, what asking for one leaves behind, and what a version takes."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from pipeline.registry import tracking
from pipeline.settings import CHECKOUT, Settings


@pytest.mark.parametrize("told", [None, "http://elsewhere:5000"])
def test_a_client_speaks_to_its_home_and_tells_no_child_of_it(tmp_path, monkeypatch, told):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if told:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", told)
    settings = Settings.at(tmp_path)
    tracking.client(settings)
    assert mlflow.get_tracking_uri() == settings.tracking_uri
    assert os.environ.get("MLFLOW_TRACKING_URI") == told


def test_processes_that_start_together_in_a_new_home_make_its_tables_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipeline.registry import tracking; "
        "from pipeline.settings import Settings; sys.stdin.readline(); "
        "print(len(tracking.client(Settings.at(Path(sys.argv[1]))).search_experiments()))"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    started = [
        subprocess.Popen(words, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0].strip() for process in started] == ["1", "1", "1"]
    assert [process.returncode for process in started] == [0, 0, 0]


def test_a_served_context_field_has_the_type_of_its_column():
    schema = tracking._signature(("page", "position")).inputs

    def checked(**fields):
        history = [{"item_id": "a", "event_at": "2024-01-01", **fields}]
        mlflow.models.validate_schema(pd.DataFrame([{"history": history}]), schema)

    checked(page="home", position=3)
    checked()
    with pytest.raises(MlflowException, match="`position`"):
        checked(position="top")
    with pytest.raises(MlflowException, match="`page`"):
        checked(page=3)


def test_a_registry_that_works_passes_the_check(tmp_path):
    settings = Settings.at(tmp_path)
    tracking.check(settings, "tiny")
    tracking.experiment_id(settings, "tiny")
    tracking.check(settings, "tiny")


def test_a_deleted_experiment_is_found_with_the_command_that_restores_it(tmp_path):
    settings = Settings.at(tmp_path)
    number = tracking.experiment_id(settings, "tiny")
    tracking.client(settings).delete_experiment(number)
    with pytest.raises(
        tracking.RegistryError,
        match=f"reprise/tiny was deleted.*experiments restore --experiment-id {number}",
    ):
        tracking.check(settings, "tiny")


def test_an_unreachable_server_is_told_in_seconds_without_its_password(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    settings = Settings.at(tmp_path, tracking_uri=f"http://me:secret@127.0.0.1:{port}")
    begun = time.monotonic()
    with pytest.raises(
        tracking.RegistryError, match=f"MLflow at http://127.0.0.1:{port} does not answer"
    ) as error:
        tracking.check(settings, "tiny")
    assert time.monotonic() - begun < 30
    assert "secret" not in str(error.value) and "correct MLFLOW_TRACKING_URI" in str(error.value)
    assert os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") is None


def test_a_database_of_another_mlflow_says_how_to_upgrade(tmp_path):
    settings = Settings.at(tmp_path)
    tracking.experiment_id(settings, "tiny")
    with sqlite3.connect(settings.tracking_uri.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    other = Settings.at(tmp_path, tracking_uri=settings.tracking_uri + "?again")
    with pytest.raises(tracking.RegistryError, match="mlflow db upgrade"):
        tracking.check(other, "tiny")
