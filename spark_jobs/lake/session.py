"""Spark's configuration: one dictionary for sessions created in this process and for spark-submit.

From the master's address, the folder of Delta's jars and the settings of `[spark]` it makes a `SparkSession`, or what
spark-submit is given for a cluster.

A local master is one small JVM: the compiler's first tier and the serial collector start fastest, the
jars are on the class path instead of in `spark.jars` (where the class archive would not cover them), and
nothing listens beyond the loopback interface. A cluster gets only the settings that results depend on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyspark
from pyspark import SparkConf, SparkContext
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from spark_jobs import settings
from spark_jobs.lake.object_store import s3_settings
from spark_jobs.lake.shipped_code import ship
from spark_jobs.lake.warm_jvm import WarmJvms
from spark_jobs.settings import LISTS, LOCAL, RESULTS, joined

LOG_SETTINGS = Path(__file__).resolve().parent / "log4j2.properties"
ARCHIVE = "classes.jsa"
"""Name of the class archive beside the jars; optional, and ignored by a JVM that it does not match."""


def configuration(master: str, jars: str | None, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is set for a master beside the person's `spark-defaults.conf`, except the master itself.

    `jars` is the folder that `pipeline.setup.jars` fills; None where the cluster provides Delta. `given` are the settings of
    `[spark]`. What a person has set, there or in `spark-defaults.conf`, is kept unless results depend on it, and lists
    (jars, extensions, options of the JVM) are joined. Raises FileNotFoundError when the folder holds no jar.
    """
    # The class archive is valid only for exactly the class path that it was made with.
    folder = Path(jars).resolve() if jars else None
    jar_paths = sorted(str(path) for path in folder.glob("*.jar")) if folder else []
    if jars and not jar_paths:
        raise FileNotFoundError(f"{jars} holds no Delta jars; run `make setup` once, with network")
    given, defaults = given or {}, _defaults()
    options = f"{given.get(_OPTIONS, '')} {defaults.get(_OPTIONS, '')}"
    if master.startswith("local"):
        ours = LOCAL | {
            "spark.driver.memory": os.environ.get("SPARK_DRIVER_MEMORY", "2g"),
            _OPTIONS: " ".join(_local_options(folder, options)),
            "spark.driver.extraClassPath": os.pathsep.join(jar_paths),
        }
    else:
        ours = {_OPTIONS: _READABLE_LOG, "spark.jars": ",".join(jar_paths)}
    ours |= s3_settings(jar_paths, os.environ)
    chosen = {name: value for name, value in ours.items() if value and name not in defaults} | given | RESULTS
    for name in LISTS:
        parts = [{**RESULTS, **ours}.get(name), defaults.get(name), given.get(name)]
        if any(parts):
            chosen[name] = joined(name, *parts)
    return chosen


_OPTIONS = "spark.driver.extraJavaOptions"
_READABLE_LOG = f'"-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()}"'


def _local_options(folder: Path | None, others: str) -> list[str]:
    """Options of the JVM of a local master; `others` are those of the person, which follow them."""
    options = [
        _READABLE_LOG,
        "-XX:TieredStopAtLevel=1",
        # With the first tier only, the default is 48 MB; a whole cycle in one process fills it, and the
        # JVM then fails.
        "-XX:ReservedCodeCacheSize=256m",
        # The JVM's default young generation fills 30 times in the first seconds.
        "-Xmn400m",
        "-XX:MetaspaceSize=256m",
        # A JVM that skips an unsuitable class archive would say so on stdout.
        "-Xlog:disable",
    ]
    # Two collectors are one too many for a JVM.
    if not re.search(r"-XX:\+Use\w+GC\b", others):
        options.append("-XX:+UseSerialGC")
    archive = folder / ARCHIVE if folder else None
    if archive and archive.exists():
        options.append(f'"-XX:SharedArchiveFile={archive}"')
    return options


def _defaults() -> dict[str, str]:
    """The person's `spark-defaults.conf`, where Spark looks for it."""
    home = os.environ.get("SPARK_HOME", os.path.dirname(pyspark.__file__))
    return settings.defaults(Path(os.environ.get("SPARK_CONF_DIR", os.path.join(home, "conf"))))


def get_session(
    master: str | None,
    app: str,
    jars: str | None,
    given: Mapping[str, str] | None = None,
    warm: WarmJvms | None = None,
) -> SparkSession:
    """The process's session, created at the first call.

    Under spark-submit and in a warm JVM the JVM is already running with its master, class path and options,
    so only the settings that results depend on are set again. Elsewhere it starts on `master` (`local[2]`,
    `spark://…`), by default `local[2]`. `given` are the settings of `[spark]`. A local master uses a JVM of `warm` where
    that is given.
    """
    # What these log is in the exception that follows, which becomes one line or a traceback of ours.
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True
    address, given = master or "local[2]", given or {}
    # The workers' Python, where it is elsewhere; spark-submit reads this setting for programs alone.
    python = given.get("spark.pyspark.python") or _defaults().get("spark.pyspark.python") or sys.executable
    os.environ.setdefault("PYSPARK_PYTHON", python)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    if "PYSPARK_GATEWAY_PORT" not in os.environ and warm is not None and address.startswith("local"):
        warm.take(address, _properties(address, jars, given))
    builder = SparkSession.builder.appName(app)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        extensions = "spark.sql.extensions"
        SparkContext._ensure_initialized()  # before it, a SparkConf knows nothing of what was submitted
        submitted = SparkConf().get(extensions, None)
        settled = RESULTS | {extensions: joined(extensions, RESULTS[extensions], submitted)}
        session = builder.config(map=settled).getOrCreate()
    else:
        session = builder.master(address).config(map=configuration(address, jars, given)).getOrCreate()
    if not session.sparkContext.master.startswith("local"):
        ship(session)
    return session


def _properties(master: str, jars: str | None, given: Mapping[str, str]) -> str:
    """The configuration as spark-submit's properties file, which names the state of the person's defaults too."""
    # A JVM that was started with other defaults serves no stage of today's.
    state = hashlib.sha256(json.dumps(_defaults(), sort_keys=True).encode()).hexdigest()[:16]
    chosen = configuration(master, jars, given).items()
    lines = [f"{name} {value}".replace("\\", "\\\\") for name, value in chosen]
    return "\n".join([f"# spark-defaults.conf {state}", *lines, ""])


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
