"""The second step of set-up: fetches the jars of Delta and Avro once and prepares Spark's fast start.

    python -m pipeline.setup.jars              (what `make setup` runs)
    python -m pipeline.setup.jars --with s3    (`make setup JARS=s3`: also what a lake or log on S3 needs, 13 MB)

Leaves two things under the home folder, so that every later start works offline: the jars that pyspark needs
for Delta and for Avro files, with the SHA-256 pinned here; and a class archive, with which a session starts
in a third of the time. A second call checks them and changes nothing.

The jars are fetched by Spark's own Ivy with a cache folder and one resolver configured here, so that neither
Maven nor the contents of the person's `~/.m2` matter. With those of S3 the store of Delta's commits
(`spark_jobs/lake/S3LogStore.scala`) is compiled, by the Scala compiler that pyspark brings.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyspark

from pipeline.settings import CHECKOUT, Settings
from pipeline.setup.environment import SetupError, check_disk, check_java, java_program
from spark_jobs.lake.session import ARCHIVE, configuration

LOG_STORE = CHECKOUT / "spark_jobs" / "lake" / "S3LogStore.scala"


@dataclass(frozen=True)
class JarSet:
    """Jars that are fetched together."""

    title: str
    """In words, for a person."""
    pinned: str
    """Lines of a SHA-256 and an artifact, `group:name:version`."""
    excluded: tuple[str, ...]
    """Groups and artifacts that these depend on and that are not fetched."""

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each jar by its artifact."""
        return {artifact: digest for digest, artifact in map(str.split, self.pinned.strip().splitlines())}


SETS = {
    "base": JarSet(
        "the jars of Delta and Avro",
        """
        75a9400986853c061f5109f012547de2545a5759e5e752e5ef633dabe16a4f10  io.delta:delta-spark_4.1_2.13:4.4.0
        c46735481fa8e326b0957be02b4420cbcab4b325bb08009b7f2045a95133f1cc  io.delta:delta-storage:4.4.0
        ee9b5a14ac3b7efdff4d61a58478fe8eb0e5a3fbca43889dca7290795fe79a11  io.delta:delta-kernel-api:4.4.0
        225c975199e4718b38ee5b7e6da7f19e9585024262b2cec2656b32151a856b0b  io.delta:delta-kernel-defaults:4.4.0
        cea22dfb4ac562b3cd27bf652697750e8336009d73fb06631363aaaad5345ffa  io.delta:delta-kernel-unitycatalog:4.4.0
        6a19d90bc3b6e88d8db0fa36a19273aa10fea2dbd7a62bb60e4cedd73051b32d  org.apache.spark:spark-avro_2.13:4.1.1
        """,
        # pyspark ships them, or tables without a catalog service never use them.
        (
            "com.fasterxml.jackson.core:*", "com.fasterxml.jackson.datatype:*", "com.google.code.findbugs:*",
            "io.unitycatalog:*", "org.apache.hadoop:*", "org.apache.logging.log4j:*", "org.apache.parquet:*",
            "org.roaringbitmap:*", "org.slf4j:*", "org.tukaani:*",
        ),
    ),
    "s3": JarSet(
        "the jars of S3",
        (Path(__file__).resolve().parent / "s3-jars.txt").read_text(encoding="utf-8"),
        # The SDK's bundle is 600 MB, of which S3 needs 12; pyspark ships the others.
        (
            "software.amazon.awssdk:bundle", "io.netty:*", "org.slf4j:*", "commons-codec:*", "commons-logging:*",
            "org.apache.httpcomponents:*", "org.wildfly.openssl:*",
        ),
    ),
}  # fmt: skip
"""What can be fetched; `base` always is. Avro's is of the same line as the pinned pyspark, 4.1: it was not
published for every patch of it."""
NEEDED_MEGABYTES = 600
"""Free disk space for the jars, the class archive and Ivy's cache while it works."""

_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def prepare(settings: Settings, say: Callable[[str], None] = print, *, further: str | None = None) -> None:
    """Prepares Spark under `settings.home`, with a further set of jars or without.

    Raises SetupError for a Java that is missing or of the wrong version, no network the first time, a jar
    with another digest than the pinned one, or a full disk.
    """
    check_java()
    try:
        for name in ("base", *([further] if further else [])):
            if missing_jars(settings.jars, name):
                settings.home.mkdir(parents=True, exist_ok=True)
                check_disk(settings.home, NEEDED_MEGABYTES)
                say(f"fetching {SETS[name].title} (once; about 20 s)")
                fetch(settings.jars, name)
                # It is of other jars.
                (settings.jars / ARCHIVE).unlink(missing_ok=True)
        if not missing_jars(settings.jars, "s3") and not _log_store(settings.jars).exists():
            say("compiling the store of Delta's commits on S3")
            compile_log_store(settings.jars)
        if not (settings.jars / ARCHIVE).exists():
            say("preparing Spark's class archive (once; about 20 s)")
            archive_classes(settings.jars, settings.spark_master)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(
                f"the disk that holds {settings.home} is full; free {NEEDED_MEGABYTES} MB"
            ) from None
        raise SetupError(f"{settings.home} cannot be written: {error.strerror or error}") from None


def missing_jars(folder: Path, name: str = "base") -> list[str]:
    """Artifacts of a set that are missing from `folder` or have another digest there."""
    return [
        artifact
        for artifact, digest in SETS[name].digests.items()
        if _digest(_jar(folder, artifact)) != digest
    ]


def fetch(folder: Path, name: str = "base") -> None:
    """Fetches a set of jars into `folder`, all or none.

    Raises SetupError when a jar cannot be fetched or has another digest than the pinned one, and OSError on a
    full disk.
    """
    chosen = SETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ivy-", dir=folder.parent) as scratch:
        ivy = Path(scratch)
        (ivy / "settings.xml").write_text(_IVY_SETTINGS, encoding="utf-8")
        (ivy / "nothing.py").write_text("", encoding="utf-8")
        answer = subprocess.run(_ivy_command(ivy, chosen), capture_output=True, text=True, check=False)
        fetched = {
            artifact: ivy / "jars" / "{}_{}-{}.jar".format(*artifact.split(":"))
            for artifact in chosen.digests
        }
        absent = [artifact for artifact, path in fetched.items() if not path.exists()]
        if absent:
            if "No space left" in answer.stderr:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise SetupError(
                f"{chosen.title} could not be fetched ({absent[0]}); "
                "the first set-up needs the network: check it, or the JVM's proxy in JAVA_TOOL_OPTIONS"
            )
        for artifact, path in fetched.items():
            if _digest(path) != chosen.digests[artifact]:
                raise SetupError(
                    f"{artifact} has another SHA-256 than the pinned one and is not used; "
                    "check which repository the network's proxy fetches from"
                )
        for artifact, path in fetched.items():
            partial = _jar(folder, artifact).with_suffix(".partial")
            shutil.copyfile(path, partial)
            os.replace(partial, _jar(folder, artifact))


def compile_log_store(folder: Path) -> None:
    """Compiles the store of Delta's commits on S3 into a jar beside the others. Raises SetupError when it cannot be."""
    for older in folder.glob("reprise-s3-*.jar"):
        older.unlink()
    bundled = Path(pyspark.__file__).parent / "jars"
    compiler = [str(path) for path in bundled.glob("scala-*.jar")]
    needed = [
        *compiler,
        *map(str, bundled.glob("hadoop-client-api-*.jar")),
        *map(str, folder.glob("delta-storage-*.jar")),
    ]
    with tempfile.TemporaryDirectory(prefix="compiled-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made.jar"
        words = [
            java_program(), "-cp", os.pathsep.join(compiler), "scala.tools.nsc.Main",
            "-cp", os.pathsep.join(needed), "-d", str(made), str(LOG_STORE),
        ]  # fmt: skip
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        if answer.returncode or not made.exists():
            said = (answer.stdout + answer.stderr).strip()
            raise SetupError(f"{LOG_STORE} could not be compiled: {said[:300]}")
        os.replace(made, _log_store(folder))


def _log_store(folder: Path) -> Path:
    return folder / f"reprise-s3-{_digest(LOG_STORE)[:8]}.jar"


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


def _ivy_command(ivy: Path, chosen: JarSet) -> list[str]:
    return [
        *_spark_submit(), "--master", "local[1]", "--packages", ",".join(chosen.digests),
        "--exclude-packages", ",".join(chosen.excluded),
        # As a URI, because Spark refuses a path with spaces.
        "--conf", f"spark.jars.ivy={ivy}", "--conf", f"spark.jars.ivySettings={(ivy / 'settings.xml').as_uri()}",
        str(ivy / "nothing.py"),
    ]  # fmt: skip


def _spark_submit() -> list[str]:
    return [str(Path(pyspark.__file__).parent / "bin" / "spark-submit")]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}


def _jar(folder: Path, artifact: str) -> Path:
    return folder / "{1}-{2}.jar".format(*artifact.split(":"))


def _digest(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Prepares Spark in the home of the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--with", dest="further", choices=sorted({*SETS} - {"base"}), help="a further set of jars"
    )
    try:
        prepare(Settings.from_environment(), further=parser.parse_args().further)
    except SetupError as problem:
        sys.exit(f"set-up: {problem}")


if __name__ == "__main__":
    main()
