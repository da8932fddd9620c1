"""The one Spark configuration."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.settings import CHECKOUT
from spark_jobs.lake.session import configuration, get_session


@pytest.fixture
def jars(tmp_path):
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "delta-storage.jar").write_bytes(b"")
    return str(folder)


def test_a_local_master_keeps_jars_on_the_class_path_and_listens_on_loopback(jars):
    conf = configuration("local[2]", jars)
    assert conf["spark.driver.extraClassPath"].endswith("delta-storage.jar")
    assert "spark.jars" not in conf
    assert conf["spark.driver.bindAddress"] == "127.0.0.1"
    assert "SharedArchiveFile" not in conf["spark.driver.extraJavaOptions"]


def test_a_cluster_gets_the_jars_and_no_laptop_settings(jars):
    conf = configuration("spark://host:7077", jars)
    assert conf["spark.jars"].endswith("delta-storage.jar")
    assert not {"spark.driver.extraClassPath", "spark.driver.host", "spark.sql.shuffle.partitions"} & set(
        conf
    )


def test_results_do_not_depend_on_the_master(jars):
    local, cluster = configuration("local[2]", jars), configuration("yarn", None)
    assert local["spark.sql.session.timeZone"] == cluster["spark.sql.session.timeZone"] == "UTC"
    assert {**local, **cluster} | {"spark.driver.extraJavaOptions": ""} == local | {
        "spark.driver.extraJavaOptions": ""
    }


def test_missing_jars_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="make setup"):
        configuration("local[2]", str(tmp_path))


@pytest.fixture
def spark_defaults(tmp_path, monkeypatch):
    """A person's own `spark-defaults.conf`."""
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))

    def write(text: str) -> None:
        (tmp_path / "spark-defaults.conf").write_text(text)

    return write


@pytest.mark.parametrize("master", ["local[2]", "spark://host:7077", "yarn", "k8s://https://host:443"])
def test_settings_are_added_to_the_persons_defaults(master, jars, spark_defaults):
    spark_defaults(
        "# ours\nspark.jars  /opt/ours.jar\nspark.sql.extensions=a.B\nspark.driver.memory: 7g\n"
        'spark.sql.session.timeZone Europe/Amsterdam\nspark.driver.extraJavaOptions -Dx="1 2" -XX:+UseZGC\n'
        "spark.sql.shuffle.partitions 50\nspark.eventLog.dir  hdfs://logs\n"
    )
    given = {"spark.executor.memory": "8g", "spark.sql.extensions": "c.D", "spark.jars": "/opt/more.jar"}
    conf = configuration(master, jars, given)
    assert conf["spark.executor.memory"] == "8g"
    assert conf["spark.sql.extensions"] == "io.delta.sql.DeltaSparkSessionExtension,a.B,c.D"
    assert conf["spark.jars"].endswith("/opt/ours.jar,/opt/more.jar")
    assert conf["spark.sql.session.timeZone"] == "UTC"
    assert conf["spark.driver.extraJavaOptions"].endswith('-Dx="1 2" -XX:+UseZGC')
    assert "SerialGC" not in conf["spark.driver.extraJavaOptions"]
    # What is not given stays what the file says.
    assert not {"spark.driver.memory", "spark.sql.shuffle.partitions", "spark.eventLog.dir"} & set(conf)


def test_a_session_has_the_settings_and_the_defaults(jars, spark_defaults, tmp_path):
    spark_defaults("spark.sql.shuffle.partitions 50\nspark.ui.port 4999\n")
    program = (
        "import sys; from spark_jobs.lake.session import get_session; from pipeline.settings import Settings;"
        "jars = str(Settings.from_environment().jars);"
        "conf = get_session('local[1]', 'test', jars, {'spark.sql.broadcastTimeout': '77'}).sparkContext.getConf();"
        "print([conf.get(f'spark.{name}') for name in ('sql.shuffle.partitions', 'ui.port', 'sql.broadcastTimeout')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    assert answer.stdout.splitlines()[-1] == "['50', '4999', '77']"


def test_the_session_is_shared_and_configured(spark):
    assert get_session("local[2]", "another", None) is spark
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.sql("SELECT timestamp'2026-03-01 00:00:00Z' = timestamp'2026-03-01 00:00:00'").first()[0]
