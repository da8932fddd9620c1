"""Spark's configuration: one dictionary for sessions created in this process and for spark-submit.

From the master's address and the folder of Delta's jars it makes a `SparkSession`, or the properties
file that Airflow's Spark operator passes to spark-submit.

A local master is one small JVM: the compiler's first tier and the serial collector start fastest, the
jars are on the class path instead of in `spark.jars` (where the class archive would not cover them), and
nothing listens beyond the loopback interface. A cluster gets only the settings that change results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from expectations.files import write_atomically

LOG_SETTINGS = Path(__file__).resolve().parent / "log4j2.properties"
ARCHIVE = "classes.jsa"
"""Name of the class archive beside the jars; optional, and ignored by a JVM that it does not match."""

RESULTS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # Else ${env:HOME} in an expression would be the environment's value.
    "spark.sql.variable.substitute": "false",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Timestamps in nanoseconds, as pandas writes them: Spark has no such type and would reject the file.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
    # delta-rs reads these tables: they must not use features that it lacks.
    "spark.databricks.delta.properties.defaults.enableDeletionVectors": "false",
}
"""Settings of every session: they change results."""

LOCAL = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
    # The defaults suit large clusters; on one machine every Delta commit would run dozens of empty tasks.
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    # Opening a local file costs little: one task reads many small ones.
    "spark.sql.files.openCostInBytes": "131072",
    # Vectored reads are made by threads whose bytes the task's metrics lack. They pay on object storage.
    "spark.hadoop.parquet.hadoop.vectored.io.enabled": "false",
}
"""Further settings of a local master: they change speed and ports only."""


def configuration(master: str, jars: str | None) -> dict[str, str]:
    """The whole Spark configuration for a master, except the master itself.

    `jars` is the folder that `pipeline.setup.jars` fills; None where the cluster provides Delta.
    Raises FileNotFoundError when the folder holds no jar.
    """
    # The class archive is valid only for exactly the class path that it was made with.
    folder = Path(jars).resolve() if jars else None
    jar_paths = sorted(str(path) for path in folder.glob("*.jar")) if folder else []
    if jars and not jar_paths:
        raise FileNotFoundError(f"{jars} holds no Delta jars; run `make setup` once, with network")
    readable_log = f'"-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()}"'
    if not master.startswith("local"):
        driver = {"spark.driver.extraJavaOptions": readable_log}
        return {**RESULTS, **driver, **({"spark.jars": ",".join(jar_paths)} if jar_paths else {})}
    options = [
        readable_log,
        "-XX:TieredStopAtLevel=1",
        # With the first tier only, the default is 48 MB; a whole cycle in one process fills it, and the
        # JVM then fails.
        "-XX:ReservedCodeCacheSize=256m",
        "-XX:+UseSerialGC",
        # The JVM's default young generation fills 30 times in the first seconds.
        "-Xmn400m",
        "-XX:MetaspaceSize=256m",
        # A JVM that skips an unsuitable class archive would say so on stdout.
        "-Xlog:disable",
    ]
    archive = folder / ARCHIVE if folder else None
    if archive and archive.exists():
        options.append(f'"-XX:SharedArchiveFile={archive}"')
    return {
        **RESULTS,
        **LOCAL,
        "spark.driver.memory": os.environ.get("SPARK_DRIVER_MEMORY", "2g"),
        "spark.driver.extraJavaOptions": " ".join(options),
        **({"spark.driver.extraClassPath": os.pathsep.join(jar_paths)} if jar_paths else {}),
    }


def write_properties(path: Path, master: str, jars: str | None) -> Path:
    """Writes the configuration as the file for `spark-submit --properties-file`; returns its path.

    Not by way of `SPARK_CONF_DIR`, which Spark puts on the class path: the JVM rejects a class archive
    when the class path holds a non-empty folder.
    """
    lines = [f"{key} {value}".replace("\\", "\\\\") for key, value in configuration(master, jars).items()]
    write_atomically(path, "\n".join(lines) + "\n", mode=0o644)
    return path


def get_session(master: str | None, app: str, jars: str | None) -> SparkSession:
    """The process's session, created at the first call.

    Under spark-submit the JVM is already running with the submitted master, class path and options, so
    only the settings that change results are set again. Elsewhere it starts on `master` (`local[2]`,
    `spark://…`), by default `local[2]`.
    """
    # What these log is in the exception that follows, which becomes one line or a traceback of ours.
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True
    builder = SparkSession.builder.appName(app)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return builder.config(map=RESULTS).getOrCreate()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    address = master or "local[2]"
    return builder.master(address).config(map=configuration(address, jars)).getOrCreate()


@contextmanager
def setting(spark: SparkSession, key: str, value: str) -> Iterator[None]:
    """The session has another value of a setting inside; a plan keeps what it was analysed under."""
    before = spark.conf.get(key)
    spark.conf.set(key, value)
    try:
        yield
    finally:
        spark.conf.set(key, before)


@contextmanager
def silent(spark: SparkSession) -> Iterator[None]:
    """Spark logs nothing inside: what fails there is told in one line, not by executors' stack traces."""
    root = spark._jvm.org.apache.logging.log4j.LogManager.getRootLogger()
    before = root.getLevel().toString()
    spark.sparkContext.setLogLevel("OFF")
    try:
        yield
    finally:
        spark.sparkContext.setLogLevel(before)
