"""The one Spark configuration."""

from __future__ import annotations

import pytest

from spark_jobs.lake.session import configuration, get_session, write_properties


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


def test_the_properties_file_holds_the_same_configuration(jars, tmp_path):
    path = write_properties(tmp_path / "spark" / "spark.properties", "local[2]", jars)
    written = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert written == configuration("local[2]", jars)


def test_the_session_is_shared_and_configured(spark):
    assert get_session("local[2]", "another", None) is spark
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.sql("SELECT timestamp'2026-03-01 00:00:00Z' = timestamp'2026-03-01 00:00:00'").first()[0]
