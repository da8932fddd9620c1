"""The only Spark configuration: one dictionary, used by a session made in this process and by
spark-submit alike.

In: the master's address and the folder of Delta's jars. Out: a `SparkSession`, or the properties
file that Airflow's Spark operator passes to spark-submit. Knows nothing of tables or sources.

A local master is one small JVM: the compiler's first tier and the serial collector start fastest,
the jars lie on the class path and not in `spark.jars` (else the class archive does not cover
them), and nothing listens beyond the loopback. A cluster gets only what changes results.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from expectations.files import write_atomically

LOG_SETTINGS = Path(__file__).resolve().parent / "log4j2.properties"
ARCHIVE = "classes.jsa"
"""Name of the class archive beside the jars; used when it is there, and ignored by a JVM it does not suit."""

RESULTS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # As pandas writes them; Spark has no such type and would refuse the whole file.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
    # Tables that delta-rs reads must not grow features that it lacks.
    "spark.databricks.delta.properties.defaults.enableDeletionVectors": "false",
}
"""What every session has, wherever it runs."""

LOCAL = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
    # Made for big clusters; on one machine they turn every Delta commit into dozens of empty tasks.
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    # A local file opens at once: small ones are read many to a task.
    "spark.sql.files.openCostInBytes": "131072",
}
"""What a local master has besides."""


def configuration(master: str, jars: str | None) -> dict[str, str]:
    """The whole Spark configuration for a master, without the master itself.

    `jars` is the folder that `pipeline.setup.jars` filled; None where the cluster brings Delta.
    Raises FileNotFoundError when the folder holds no jar.
    """
    # The class archive is valid for the class path that it was made with, letter by letter.
    folder = Path(jars).resolve() if jars else None
    found = sorted(str(path) for path in folder.glob("*.jar")) if folder else []
    if jars and not found:
        raise FileNotFoundError(f"{jars} holds no Delta jars; run `make setup` once, with network")
    readable_log = f'"-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()}"'
    if not master.startswith("local"):
        driver = {"spark.driver.extraJavaOptions": readable_log}
        return {**RESULTS, **driver, **({"spark.jars": ",".join(found)} if found else {})}
    options = [
        readable_log,
        "-XX:TieredStopAtLevel=1",
        # The first tier alone gets 48 MB, which a whole cycle in one process fills: then the JVM breaks down.
        "-XX:ReservedCodeCacheSize=256m",
        "-XX:+UseSerialGC",
        # A young generation of JVM's own choice fills 30 times in the first seconds.
        "-Xmn400m",
        "-XX:MetaspaceSize=256m",
        # A class archive that does not suit the JVM is skipped; the JVM must not talk about it on stdout.
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
        **({"spark.driver.extraClassPath": os.pathsep.join(found)} if found else {}),
    }


def write_properties(path: Path, master: str, jars: str | None) -> Path:
    """Writes the configuration as the file for `spark-submit --properties-file`; returns its path.

    A file of its own and not `SPARK_CONF_DIR`, which would join the class path: the JVM refuses a
    class archive when a folder with files in it is on the class path.
    """
    lines = [f"{key} {value}".replace("\\", "\\\\") for key, value in configuration(master, jars).items()]
    write_atomically(path, "\n".join(lines) + "\n", mode=0o644)
    return path


def get_session(master: str | None, app: str, jars: str | None) -> SparkSession:
    """The process's session, made at the first call.

    Under spark-submit the JVM runs already: master, class path and JVM options are as submitted, and
    only what changes results is set again. Elsewhere `master` starts one (`local[2]`, `spark://…`).
    """
    builder = SparkSession.builder.appName(app)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return builder.config(map=RESULTS).getOrCreate()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    address = master or "local[2]"
    return builder.master(address).config(map=configuration(address, jars)).getOrCreate()
