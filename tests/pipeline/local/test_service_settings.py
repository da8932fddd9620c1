from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from pipeline.local import service_settings
from pipeline.settings import Settings


def test_secrets_are_generated_once_and_for_the_owner_alone(empty_home: Settings):
    environment = service_settings.airflow_environment(empty_home, "ml-100k", 8080)
    assert service_settings.airflow_environment(empty_home, "ml-100k", 8080) == environment
    for name in ("secrets.json", "passwords.json"):
        assert stat.S_IMODE((empty_home.home / "airflow" / name).stat().st_mode) == 0o600
    kept = json.loads((empty_home.home / "airflow" / "passwords.json").read_text())
    assert kept == {"admin": service_settings.password(empty_home)}
    assert len(service_settings.password(empty_home)) >= 16


def test_two_homes_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://somebody-elses")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/somewhere/else")
    first_home, second_home = Settings.at(tmp_path / "first"), Settings.at(tmp_path / "second")
    first = service_settings.airflow_environment(first_home, "ml-100k", 8080)
    second = service_settings.airflow_environment(second_home, "ml-100k", 8081)
    assert not any(str(second_home.home) in value or "somewhere" in value for value in first.values())
    assert first["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{first_home.home}/airflow/airflow.db"
    assert first["AIRFLOW__API_AUTH__JWT_SECRET"] != second["AIRFLOW__API_AUTH__JWT_SECRET"]


def test_every_address_is_on_the_loopback(empty_home: Settings):
    environment = service_settings.airflow_environment(empty_home, "ml-100k", 18081)
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18081/execution/"


def test_the_loopback_bypasses_a_proxy_of_the_environment(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert service_settings.base_environment(empty_home)["no_proxy"] == "127.0.0.1,localhost"
    monkeypatch.setenv("NO_PROXY", "intranet,localhost")
    assert service_settings.base_environment(empty_home)["no_proxy"] == "intranet,localhost,127.0.0.1"


def test_a_connection_given_by_the_environment_is_kept(empty_home: Settings, monkeypatch: pytest.MonkeyPatch):
    given = '{"conn_type":"spark","host":"spark://cluster:7077"}'
    default = service_settings.base_environment(empty_home)["AIRFLOW_CONN_SPARK_REPRISE"]
    assert json.loads(default)["host"] == "local[2]"
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_REPRISE", given)
    assert service_settings.base_environment(empty_home)["AIRFLOW_CONN_SPARK_REPRISE"] == given


def test_pools_are_written_for_airflow_to_import(empty_home: Settings):
    service_settings.airflow_home(empty_home).mkdir(parents=True)
    assert (
        json.loads(service_settings.pools_file(empty_home).read_text(encoding="utf-8"))
        == service_settings.POOLS
    )


def test_only_the_path_of_a_file_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert service_settings.located("ml-100k") == "ml-100k"
    assert service_settings.located("logs/my.toml") == str(tmp_path / "logs" / "my.toml")


@pytest.mark.parametrize("given", ["80", "http", "70000", "-1"])
def test_a_bad_port_is_refused(given: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REPRISE_AIRFLOW_PORT", given)
    with pytest.raises(ValueError, match=f"REPRISE_AIRFLOW_PORT is '{given}'"):
        service_settings.Ports.from_environment()
