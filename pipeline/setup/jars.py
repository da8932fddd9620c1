"""The second step of set-up: fetches the jars of Delta and Avro once and prepares Spark's fast start.

    python -m pipeline.setup.jars        (what `make setup` runs)

Leaves three things under the home folder, so that every later start works offline: the six jars that
pyspark needs for Delta and for Avro files, with the SHA-256 pinned here; a class archive, with which a session starts in a
third of the time; and the properties file for spark-submit. A second call checks them and changes nothing.

The jars are fetched by Spark's own Ivy with a cache folder and one resolver configured here, so that neither
Maven nor the contents of the person's `~/.m2` matter.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyspark

from pipeline.settings import Settings
from pipeline.setup.environment import SetupError, check_disk, check_java
from spark_jobs.lake.session import ARCHIVE, configuration, write_properties


class Jar(NamedTuple):
    """An artifact on Maven."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.jar"


_OF_DELTA = {
    "delta-spark_4.1_2.13": "75a9400986853c061f5109f012547de2545a5759e5e752e5ef633dabe16a4f10",
    "delta-storage": "c46735481fa8e326b0957be02b4420cbcab4b325bb08009b7f2045a95133f1cc",
    "delta-kernel-api": "ee9b5a14ac3b7efdff4d61a58478fe8eb0e5a3fbca43889dca7290795fe79a11",
    "delta-kernel-defaults": "225c975199e4718b38ee5b7e6da7f19e9585024262b2cec2656b32151a856b0b",
    "delta-kernel-unitycatalog": "cea22dfb4ac562b3cd27bf652697750e8336009d73fb06631363aaaad5345ffa",
}
JARS = (
    *(Jar("io.delta", name, "4.4.0", digest) for name, digest in _OF_DELTA.items()),
    # Of the same line as the pinned pyspark, 4.1: it was not published for every patch of it.
    Jar(
        "org.apache.spark",
        "spark-avro_2.13",
        "4.1.1",
        "6a19d90bc3b6e88d8db0fa36a19273aa10fea2dbd7a62bb60e4cedd73051b32d",
    ),
)
NEEDED_MEGABYTES = 600
"""Free disk space for the jars, the class archive and Ivy's cache while it works."""

_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""
_PRESENT_IN_PYSPARK = (
    "com.fasterxml.jackson.core", "com.fasterxml.jackson.datatype", "com.google.code.findbugs",
    "io.unitycatalog", "org.apache.hadoop", "org.apache.logging.log4j", "org.apache.parquet",
    "org.roaringbitmap", "org.slf4j", "org.tukaani",
)  # fmt: skip
"""Groups that the jars depend on but that are not fetched: pyspark ships them, or local tables never use
them."""


def prepare(settings: Settings, say: Callable[[str], None] = print) -> Path:
    """Prepares Spark under `settings.home`; returns the properties file for spark-submit.

    Raises SetupError for a Java that is missing or of the wrong version, no network the first time, a jar
    with another digest than the pinned one, or a full disk.
    """
    check_java()
    try:
        if missing_jars(settings.jars):
            settings.home.mkdir(parents=True, exist_ok=True)
            check_disk(settings.home, NEEDED_MEGABYTES)
            say("fetching the jars of Delta and Avro (once; about 20 s)")
            fetch(settings.jars)
            # An archive is valid only for the class path that it was made with.
            (settings.jars / ARCHIVE).unlink(missing_ok=True)
        if not (settings.jars / ARCHIVE).exists():
            say("preparing Spark's class archive (once; about 20 s)")
            archive_classes(settings.jars, settings.spark_master)
        return write_properties(
            settings.home / "spark" / "spark.properties", settings.spark_master, str(settings.jars)
        )
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(
                f"the disk that holds {settings.home} is full; free {NEEDED_MEGABYTES} MB"
            ) from None
        raise SetupError(f"{settings.home} cannot be written: {error.strerror or error}") from None


def missing_jars(folder: Path) -> list[str]:
    """Names of the pinned jars that are missing from `folder` or have another digest there."""
    return [jar.name for jar in JARS if _digest(folder / jar.file) != jar.sha256]


def fetch(folder: Path) -> None:
    """Fetches the pinned jars into `folder`, all or none.

    Raises SetupError when a jar cannot be fetched or has another digest than the pinned one, and OSError on a
    full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ivy-", dir=folder.parent) as scratch:
        ivy = Path(scratch)
        (ivy / "settings.xml").write_text(_IVY_SETTINGS, encoding="utf-8")
        (ivy / "nothing.py").write_text("", encoding="utf-8")
        answer = subprocess.run(_ivy_command(ivy), capture_output=True, text=True, check=False)
        fetched = {jar: ivy / "jars" / f"{jar.group}_{jar.file}" for jar in JARS}
        absent = [jar for jar, path in fetched.items() if not path.exists()]
        if absent:
            if "No space left" in answer.stderr:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise SetupError(
                f"the jars of Delta and Avro could not be fetched ({absent[0].name} {absent[0].version}); "
                "the first set-up needs the network: check it, or the JVM's proxy in JAVA_TOOL_OPTIONS"
            )
        for jar, path in fetched.items():
            if _digest(path) != jar.sha256:
                raise SetupError(
                    f"{jar.name} {jar.version} has another SHA-256 than the pinned one and is not used; "
                    "check which repository the network's proxy fetches from"
                )
        for jar, path in fetched.items():
            partial = (folder / jar.file).with_suffix(".partial")
            shutil.copyfile(path, partial)
            os.replace(partial, folder / jar.file)


def archive_classes(folder: Path, master: str) -> None:
    """Runs a small session whose JVM archives its loaded classes beside the jars.

    The archive only saves time: where the JVM cannot write one, sessions start more slowly.
    """
    if not master.startswith("local"):
        return
    with tempfile.TemporaryDirectory(prefix="warm-", dir=folder.parent) as scratch:
        script = Path(scratch) / "warm_up.py"
        script.write_text(_WARM_UP, encoding="utf-8")
        archive = Path(scratch) / ARCHIVE
        command = [*_spark_submit(), "--master", master]
        for key, value in configuration(master, str(folder)).items():
            if key == "spark.driver.extraJavaOptions":
                value += f' "-XX:ArchiveClassesAtExit={archive}"'
            command += ["--conf", f"{key}={value}"]
        subprocess.run([*command, str(script), scratch], capture_output=True, env=_environment(), check=False)
        if archive.exists():
            os.replace(archive, folder / ARCHIVE)


_WARM_UP = '''"""Does once what every job does, so that the classes for it are loaded when the JVM ends."""
import sys
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, expr
spark = SparkSession.builder.getOrCreate()
table = sys.argv[1] + "/table"
rows = spark.range(1000).select(col("id").cast("string").alias("user"), (col("id") % 7).alias("part"))
rows.write.mode("overwrite").json(sys.argv[1] + "/lines")
lines = spark.read.text(sys.argv[1] + "/lines").select("value", "_metadata.file_path")
parsed = lines.select(expr("from_json(value, 'user string, part bigint') AS line")).select("line.*")
spark.sql(f"CREATE TABLE delta.`{table}` (user STRING, part BIGINT, total BIGINT) USING delta PARTITIONED BY (part)")
spark.sql(f"ALTER TABLE delta.`{table}` ADD CONSTRAINT positive CHECK (total > 0)")
counted = parsed.groupBy("user", "part").agg(expr("count(*) AS total"))
counted.write.format("delta").mode("overwrite").option("replaceWhere", "part >= 0").save(table)
counted.createOrReplaceTempView("counted")
spark.sql(f"MERGE INTO delta.`{table}` t USING counted c ON t.user = c.user WHEN MATCHED THEN UPDATE SET *")
spark.read.format("delta").option("versionAsOf", 2).load(table).orderBy("user").collect()
spark.stop()
'''


def _ivy_command(ivy: Path) -> list[str]:
    packages = ",".join(f"{jar.group}:{jar.name}:{jar.version}" for jar in JARS)
    return [
        *_spark_submit(), "--master", "local[1]", "--packages", packages,
        "--exclude-packages", ",".join(f"{group}:*" for group in _PRESENT_IN_PYSPARK),
        # As a URI, because Spark refuses a path with spaces.
        "--conf", f"spark.jars.ivy={ivy}", "--conf", f"spark.jars.ivySettings={(ivy / 'settings.xml').as_uri()}",
        str(ivy / "nothing.py"),
    ]  # fmt: skip


def _spark_submit() -> list[str]:
    return [str(Path(pyspark.__file__).parent / "bin" / "spark-submit")]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}


def _digest(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    try:
        prepare(Settings.from_environment())
    except SetupError as problem:
        sys.exit(f"set-up: {problem}")
