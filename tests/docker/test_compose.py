"""Checks of the images and the compose file that need no container engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.settings import CHECKOUT

DOCKER = CHECKOUT / "docker"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def services(compose: dict[str, Any], *excluded: str) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in compose["services"].items() if name not in excluded}


def test_the_services_are_those_of_a_small_cluster(compose: dict[str, Any]):
    assert set(compose["services"]) == {
        "postgres", "airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor",
        "spark-master", "spark-worker", "mlflow",
    }  # fmt: skip


def test_ports_are_published_on_the_loopback_only(compose: dict[str, Any]):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_every_lasting_service_has_a_health_check(compose: dict[str, Any]):
    assert [
        name for name, service in services(compose, "airflow-init").items() if "healthcheck" not in service
    ] == []


def test_our_services_have_no_privileges(compose: dict[str, Any]):
    for name, service in services(compose, "postgres").items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
    assert re.search(r"^USER 10001:10001$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)


def test_services_wait_for_what_they_need(compose: dict[str, Any]):
    for name in ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor"):
        assert compose["services"][name]["depends_on"] == {
            "airflow-init": {"condition": "service_completed_successfully"}
        }
    for name in ("airflow-init", "mlflow"):
        assert compose["services"][name]["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_every_named_volume_is_used(compose: dict[str, Any]):
    used = {
        mount.split(":")[0]
        for service in compose["services"].values()
        for mount in service.get("volumes", [])
    }
    assert set(compose["volumes"]) == {name for name in used if not name.startswith((".", "$"))}


def test_secrets_come_from_the_environment_and_none_is_committed():
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    settings = re.compile(r"^(?:# )?(REPRISE_\w+)=(.*)$", re.MULTILINE)  # an optional one is a comment
    example = dict(settings.findall((DOCKER / "env.example").read_text(encoding="utf-8")))
    assert set(re.findall(r"\$\{(\w+)", text)) == set(example)
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == {name for name, value in example.items() if value == ""}
    ignored = (CHECKOUT / ".gitignore").read_text().splitlines()
    assert "docker/.env" in ignored


def test_the_image_has_the_packages_and_nothing_else():
    dockerfile = (DOCKER / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \w+$", dockerfile, re.MULTILINE))
    assert copied == {"dags", "expectations", "model", "pipeline", "spark_jobs"}
    allowed = {
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert allowed == copied | {"constraints.txt", "constraints-uv.txt", "docker/entrypoint.sh"}


def test_packages_are_installed_with_their_hashes():
    installs = re.findall(r"(?:pip|uv pip) install .+", (DOCKER / "Dockerfile").read_text())
    assert len(installs) == 2 and all("--require-hashes" in line for line in installs)


def test_airflow_in_containers_and_on_this_machine_have_the_same_settings(
    compose: dict[str, Any], tmp_path: Path
):
    from pipeline.local.service_settings import airflow_environment
    from pipeline.settings import Settings

    own = {"REPRISE_DATA", "REPRISE_SPARK_MASTER", "MLFLOW_TRACKING_URI", "REPRISE_SOURCE", "REPRISE_SOURCES"}
    given = set(compose["services"]["airflow-scheduler"]["environment"]) - own
    local = airflow_environment(Settings.at(tmp_path), "ml-100k", 8080)
    assert given <= set(local)


@pytest.mark.parametrize("script", ["entrypoint.sh", "postgres-init.sh"])
def test_scripts_are_shell_that_parses(script: str):
    assert subprocess.run(["bash", "-n", str(DOCKER / script)], check=False).returncode == 0
    assert (DOCKER / script).stat().st_mode & 0o111


def test_only_the_owner_can_read_the_password_that_the_entrypoint_writes(tmp_path: Path):
    passwords = tmp_path / "airflow" / "passwords.json"
    answer = subprocess.run(
        [str(DOCKER / "entrypoint.sh"), "sh", "-c", "echo ${REPRISE_ADMIN_PASSWORD-gone}"],
        check=True, capture_output=True, text=True,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "AIRFLOW_HOME": str(passwords.parent),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "REPRISE_ADMIN_PASSWORD": 'with "quotes" and $signs',
        },
    )  # fmt: skip
    assert answer.stdout == "gone\n"
    assert yaml.safe_load(passwords.read_text()) == {"admin": 'with "quotes" and $signs'}
    assert passwords.stat().st_mode & 0o077 == 0
