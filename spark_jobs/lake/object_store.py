"""Lakes and logs on object stores: what Spark is told of S3, and which lakes are refused.

Every commit of a Delta table must be refused when another writer has made that version. File systems, HDFS, Google's and
Azure's stores do this with what Delta brings. On S3 it takes conditional writes (`S3LogStore.scala`), which S3 has and most
compatible servers; Delta's own store for S3 keeps its locks in one process, and two writers lose commits in silence.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

S3_SCHEMES = ("s3a", "s3")
LOG_STORE = "reprise.S3LogStore"
_UNSAFE = (
    "io.delta.storage.S3SingleDriverLogStore",
    "org.apache.spark.sql.delta.storage.S3SingleDriverLogStore",
)
_SAFE_SCHEMES = ("", "file", "hdfs", "viewfs", "gs", "abfs", "abfss", "wasb", "wasbs", "dbfs")
"""Where Delta's own stores of commits are safe."""


class ObjectStoreError(RuntimeError):
    """A lake whose commits could be lost; the message says what to do."""


def scheme_of(address: str) -> str:
    """`s3a` of `s3a://bucket/lake`; empty for a path."""
    return address.split("://", 1)[0] if "://" in address else ""


def s3_settings(jars: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of S3, where the jars for it are among `jars`: the server and region that the environment names, and the
    store of commits. Keys are left to Spark, which takes them from the environment and logs none."""
    if not any("hadoop-aws" in jar for jar in jars):
        return {}
    server = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    chosen = {f"spark.delta.logStore.{scheme}.impl": LOG_STORE for scheme in S3_SCHEMES}
    chosen["spark.hadoop.fs.s3.impl"] = "org.apache.hadoop.fs.s3a.S3AFileSystem"
    if server:
        chosen["spark.hadoop.fs.s3a.endpoint"] = server
        # Names of buckets in the host name need a name server that knows them.
        chosen["spark.hadoop.fs.s3a.path.style.access"] = "true"
    if region:
        chosen["spark.hadoop.fs.s3a.endpoint.region"] = region
    return chosen


def require_safe_commits(spark: SparkSession, lake: str) -> None:
    """Raises ObjectStoreError for a lake where two writers of one version could both succeed."""
    scheme = scheme_of(lake)
    store = spark.sparkContext.getConf().get(f"spark.delta.logStore.{scheme}.impl", None)
    if scheme in _SAFE_SCHEMES and store is None:
        return
    if store is None or store in _UNSAFE:
        advice = "fetch the jars of S3 (make setup JARS=s3), or name" if scheme in S3_SCHEMES else "name"
        raise ObjectStoreError(
            f"commits to {lake} could be lost when two processes write: {advice} a safe store of commits in [spark], "
            f"delta.logStore.{scheme}.impl"
        )
    if store == LOG_STORE:
        _try_conditional_writes(spark, lake)


def _try_conditional_writes(spark: SparkSession, lake: str) -> None:
    """Writes one object twice; the second must be refused."""
    jvm, configuration = spark._jvm, spark._jsc.hadoopConfiguration()
    path = jvm.org.apache.hadoop.fs.Path(f"{lake.rstrip('/')}/.conditional-writes-{uuid.uuid4()}")
    store = jvm.reprise.S3LogStore(configuration)
    try:
        for text in ("first", "second"):
            lines = jvm.java.util.ArrayList()
            lines.add(text)
            store.write(path, lines.iterator(), False, configuration)
        refused = False
    except Py4JJavaError as error:
        problem = error.java_exception
        if problem.getClass().getName() != "java.nio.file.FileAlreadyExistsException":
            raise ObjectStoreError(
                f"the lake {lake} cannot be written: {str(problem.getMessage()).splitlines()[0]}; check its address, "
                "AWS_ENDPOINT_URL, AWS_REGION and the keys"
            ) from None
        refused = True
    path.getFileSystem(configuration).delete(path, False)
    if not refused:
        raise ObjectStoreError(
            f"the server of {lake} ignores conditional writes (If-None-Match), so commits could be lost when two processes "
            "write; use a server that has them"
        )
