"""Settings: everything under one home, unless the environment names another place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import CHECKOUT, Settings


@pytest.fixture
def environment(monkeypatch):
    """Sets the variables of one test; the others are unset."""
    for name in (
        "REPRISE_HOME",
        "REPRISE_LAKE",
        "REPRISE_DATA",
        "MLFLOW_TRACKING_URI",
        "REPRISE_SPARK_MASTER",
    ):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_without_an_environment_all_state_is_under_the_checkout(environment):
    settings = Settings.from_environment()
    assert settings == Settings.at(CHECKOUT / ".reprise")
    assert settings.lake == str(CHECKOUT / ".reprise" / "lake")
    assert settings.tracking_uri == f"sqlite:///{CHECKOUT / '.reprise' / 'mlflow' / 'mlflow.db'}"
    assert settings.spark_master == "local[2]"


def test_the_environment_names_places(environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment("REPRISE_HOME", "here")
    environment("REPRISE_LAKE", "s3a://bucket/lake")
    environment("REPRISE_DATA", "sets")
    environment("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    environment("REPRISE_SPARK_MASTER", "spark://master:7077")
    settings = Settings.from_environment()
    assert settings.home == tmp_path / "here"
    assert settings.lake == "s3a://bucket/lake"
    assert settings.data == tmp_path / "sets"
    assert settings.tracking_uri == "http://mlflow:5000"
    assert settings.spark_master == "spark://master:7077"


def test_every_folder_of_a_home_is_inside_it():
    settings = Settings.at(Path("/home"))
    folders = [
        settings.landing("s"),
        settings.cycle_folder("s", "2026-03-01"),
        settings.checkpoint_folder("s", "2026-03-01", "candidate"),
        settings.accepted_folder("s", "0123456789abcdef" * 4),
        settings.report_folder("s", "2026-03-01"),
        settings.artifacts,
        settings.jars,
        Path(settings.lake),
    ]
    assert len(set(folders)) == len(folders)
    assert all(folder.is_relative_to("/home") for folder in folders)
    assert settings.accepted_folder("s", "0123456789abcdef" * 4) == Path("/home/accepted/s/0123456789abcdef")
