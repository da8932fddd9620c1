"""What the marked tests of this folder start on the loopback: a Spark cluster from pyspark's own programs, and an S3 server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow.fs import S3FileSystem

from pipeline.local import control, service_settings
from pipeline.local.services import Service
from pipeline.settings import Settings

PROGRAMS = Path(sys.executable).parent


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def standalone_cluster(home: Settings, folder: Path, workers: int) -> Iterator[str]:
    """Yields the master's address. The workers have one core each, nothing of the checkout on their path, and their
    executors' folders in `folder`."""
    port = free_port()
    master = f"spark://127.0.0.1:{port}"
    environment = service_settings.base_environment(home) | {"SPARK_LOCAL_IP": "127.0.0.1"}
    del environment["PYTHONPATH"]
    started = [_spark_service("master", 0, environment, ["--host", "127.0.0.1", "--port", str(port)])]
    for number in range(workers):
        words = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"worker-{number}"), master]
        started.append(_spark_service("worker", number, environment, words))
    try:
        control.start(home, started, say=print)
        yield master
    finally:
        control.stop(home)


def _spark_service(kind: str, number: int, environment: dict[str, str], arguments: list[str]) -> Service:
    page = free_port()
    name = f"org.apache.spark.deploy.{kind}.{kind.capitalize()}"
    command = (str(PROGRAMS / "spark-class"), name, "--webui-port", str(page), *arguments)
    return Service(f"spark-{kind}-{number}", command, environment, f"http://127.0.0.1:{page}/json/")


def driver_environment(home: Settings) -> dict[str, str]:
    """The environment of a driver on the loopback."""
    return {**os.environ, "REPRISE_HOME": str(home.home), "SPARK_LOCAL_IP": "127.0.0.1"}


@contextmanager
def s3_server(*options: str) -> Iterator[dict[str, str]]:
    """Yields the environment of those who use the server; it has the bucket `bucket`."""
    moto = shutil.which("moto_server")
    if moto is None:
        pytest.fail(
            "moto_server is missing on PATH; install moto[server] 5 in an environment of its own",
            pytrace=False,
        )
    port = free_port()
    python = Path(moto).parent / "python"
    script = Path(__file__).parent / "s3_server.py"
    with subprocess.Popen(
        [python, script, str(port), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            bucket_of(port).create_dir("bucket")
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": KEYS[0],
                "AWS_SECRET_ACCESS_KEY": KEYS[1],
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
            }
        finally:
            server.terminate()


KEYS = ("access-of-a-test", "hush-of-a-test")


def bucket_of(port: int) -> S3FileSystem:
    """The server as Arrow's file system."""
    return S3FileSystem(
        access_key=KEYS[0], secret_key=KEYS[1], region="us-east-1", scheme="http",
        endpoint_override=f"127.0.0.1:{port}", allow_bucket_creation=True,
    )  # fmt: skip
