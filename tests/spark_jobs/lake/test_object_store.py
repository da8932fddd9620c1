"""Which lakes are refused, and what Spark is told of S3. With a server: tests/cluster/test_object_store.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spark_jobs.lake.object_store import LOG_STORE, ObjectStoreError, require_safe_commits, s3_settings
from spark_jobs.lake.session import configuration

ENVIRONMENT = {
    "AWS_ENDPOINT_URL": "https://store:9000",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": "hush",
}


def session(**stores: str) -> SimpleNamespace:
    """What the rule asks of a session: its settings."""
    conf = {f"spark.delta.logStore.{scheme}.impl": store for scheme, store in stores.items()}
    return SimpleNamespace(sparkContext=SimpleNamespace(getConf=lambda: conf))


@pytest.mark.parametrize(
    "lake", ["/lake", "file:///lake", "hdfs://name/lake", "gs://b/lake", "abfss://c@a/lake"]
)
def test_stores_that_refuse_a_second_commit_are_taken(lake):
    require_safe_commits(session(), lake)


@pytest.mark.parametrize(
    ("lake", "stores", "words"),
    [
        ("s3a://b/lake", {}, "make setup JARS=s3"),
        ("s3://b/lake", {"s3a": LOG_STORE}, "delta.logStore.s3.impl"),
        ("s3a://b/lake", {"s3a": "io.delta.storage.S3SingleDriverLogStore"}, "could be lost"),
        ("oss://b/lake", {}, "delta.logStore.oss.impl"),
    ],
)
def test_a_lake_whose_commits_could_be_lost_is_refused(lake, stores, words):
    with pytest.raises(ObjectStoreError) as refused:
        require_safe_commits(session(**stores), lake)
    assert words in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_a_store_that_a_person_names_is_taken():
    require_safe_commits(session(s3a="io.delta.storage.S3DynamoDBLogStore"), "s3a://b/lake")


def test_spark_is_told_of_s3_where_its_jars_are_and_never_of_keys(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "delta-storage-4.4.0.jar").touch()
    assert not any("s3" in name for name in configuration("local[2]", str(tmp_path)))
    (tmp_path / "hadoop-aws-3.4.2.jar").touch()
    for master in ("local[2]", "spark://host:7077"):
        conf = configuration(master, str(tmp_path), {"spark.hadoop.fs.s3a.endpoint.region": "eu-west-3"})
        assert conf["spark.hadoop.fs.s3a.endpoint"] == "https://store:9000"
        assert conf["spark.hadoop.fs.s3a.path.style.access"] == "true"
        assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-3"
        assert conf["spark.delta.logStore.s3a.impl"] == LOG_STORE
        assert not {"me", "hush"} & set(conf.values())


def test_s3_itself_needs_no_address():
    told = s3_settings(["/jars/hadoop-aws-3.4.2.jar"], {})
    assert not {"spark.hadoop.fs.s3a.endpoint", "spark.hadoop.fs.s3a.path.style.access"} & set(told)
