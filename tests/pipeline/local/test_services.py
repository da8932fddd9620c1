from __future__ import annotations

from pipeline.local import services
from pipeline.settings import Settings
from tests.pipeline.local.sleeping import sleeper


def test_everything_listens_on_the_loopback(empty_home: Settings):
    command = services.mlflow_service(empty_home, 5001).command
    assert command[command.index("--host") + 1] == "127.0.0.1"
    api_server, scheduler, processor = services.airflow_services(empty_home, "ml-100k", 18081)
    assert api_server.environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert "--skip-serve-logs" in scheduler.command
    assert (api_server.port, scheduler.port, processor.port) == (18081, None, None)


def test_a_digest_changes_with_the_command_and_with_what_configures_it():
    service = sleeper(REPRISE_SOURCE="ml-100k")
    assert service.digest == sleeper(REPRISE_SOURCE="ml-100k", COLUMNS="80").digest
    assert service.digest != sleeper(REPRISE_SOURCE="ifdb").digest
    assert service.digest != services.Service("sleeper", ("sleep",), service.environment, "").digest
