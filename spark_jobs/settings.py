"""Spark's settings as plain values: those that results depend on, those of a laptop, and those that a person adds.

    [spark]
    executor.memory = "8g"                     # or "spark.executor.memory" = "8g"
    sql.shuffle.partitions = 400

A person's settings are added to Spark's own `spark-defaults.conf`. Refused by name are those that results depend on and
those that hold a secret: a configuration is kept in the records of its cycles. Does not import Spark.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

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
    # Spark's own values, said because a cluster's spark-defaults may say otherwise: the first two lose lines in silence.
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.caseSensitive": "false",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.storeAssignmentPolicy": "ANSI",
}
"""Settings of every session: results depend on them."""

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
"""Further settings of a local master: they change speed and ports only, and anyone's own value wins."""

LISTS = {
    "spark.driver.extraJavaOptions": " ",
    "spark.driver.extraClassPath": os.pathsep,
    "spark.jars": ",",
    "spark.jars.packages": ",",
    "spark.sql.extensions": ",",
}
"""Settings whose values are lists, with what separates the parts: everyone's parts are joined."""

_DECIDE_RESULTS = (
    "spark.sql.ansi.", "spark.sql.binaryOutputStyle", "spark.sql.columnNameOfCorruptRecord", "spark.sql.csv.",
    "spark.sql.decimalOperations.", "spark.sql.files.ignore", "spark.sql.json.", "spark.sql.legacy.",
    "spark.sql.mapKeyDedupPolicy", "spark.sql.parquet.binaryAsString", "spark.sql.parquet.datetimeRebase",
    "spark.sql.parquet.inferTimestampNTZ", "spark.sql.parquet.int96", "spark.sql.parquet.mergeSchema",
    "spark.sql.sources.partitionColumnTypeInference", "spark.sql.variable.",
    "spark.databricks.delta.properties.defaults.", "spark.databricks.delta.schema.",
)  # fmt: skip
"""Beginnings of further settings that decide how values are read, converted or written."""

_ELSEWHERE = {
    "spark.master": "the master is REPRISE_SPARK_MASTER, under Airflow the connection spark_reprise",
    "spark.app.name": "the application is named after the stage",
}
_NAME = re.compile(r"spark\.[A-Za-z][\w.-]*")
# As Spark's own spark.redaction.regex has it, passwords in addresses beside.
_SECRET = re.compile(r"secret|password|passphrase|token|access[._]?key|credentials?$|authkey", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"://[^/\s:@]+:[^/\s@]+@|(secret|password|token|access[._]?key)\w*\s*=", re.IGNORECASE
)
# Names of files, classes, switches and of Kubernetes' secrets, which say where a secret is and are none.
_ABOUT_SECRETS = re.compile(
    r"(file|path|provider|class|impl|enabled|interval|lifetime)s?$|^spark\.kubernetes\..*\.(secretKeyRef|secrets)\.",
    re.IGNORECASE,
)


def as_settings(given: Any) -> dict[str, str]:
    """Settings by their whole names, as Spark takes them, from the content of `[spark]`.

    Dotted keys of TOML are tables in tables; a name may leave out `spark.`. Raises ValueError that names the setting: for
    one that results depend on, that holds a secret, that is decided elsewhere, or that has no value.
    """
    if not isinstance(given, Mapping):
        raise ValueError(  # noqa: TRY004  (a validator of pydantic raises no other)
            f'allowed are settings of Spark, for instance executor.memory = "8g", given {given!r:.60}'
        )
    found: dict[str, str] = {}
    for name, value in _flat("", given):
        whole = name if name.startswith("spark.") else f"spark.{name}"
        if problem := _problem(whole, value):
            raise ValueError(problem)
        found[whole] = ",".join(map(_text, value)) if isinstance(value, list | tuple) else _text(value)
    return found


SparkSettings = Annotated[dict[str, str], BeforeValidator(as_settings)]
"""A field of the configuration that holds them."""


def _flat(above: str, table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs = []
    for key, value in table.items():
        name = f"{above}.{key}" if above else str(key)
        pairs += _flat(name, value) if isinstance(value, Mapping) else [(name, value)]
    return pairs


def _problem(name: str, value: Any) -> str | None:
    """Why a setting is refused; None where it is not. Never says a value that may be a secret."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is no name of a setting of Spark, for instance spark.executor.memory"
    if name in _ELSEWHERE:
        return f"{name} cannot be set, {_ELSEWHERE[name]}"
    if (name in RESULTS and name not in LISTS) or name.startswith(_DECIDE_RESULTS):
        fixed = f"; it is {RESULTS[name]}" if name in RESULTS else ""
        return f"{name} cannot be set, since results depend on it{fixed}"
    parts = value if isinstance(value, list | tuple) else [value]
    if (
        any(not isinstance(part, str | bool | int | float) or not _text(part).strip() for part in parts)
        or not parts
    ):
        return (
            f"{name} has no value that Spark takes; allowed are text, numbers, true, false and lists of them"
        )
    if any("\n" in _text(part) or "\0" in _text(part) for part in parts):
        return f"{name} has a line break in its value"
    if (_SECRET.search(name) and not _ABOUT_SECRETS.search(name)) or any(
        _SECRET_VALUE.search(_text(part)) for part in parts
    ):
        return (
            f"{name} holds a secret, and a configuration is kept in records; give it by the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3), spark-defaults.conf, or a store of Hadoop's that "
            "spark.hadoop.hadoop.security.credential.provider.path names"
        )
    return None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def joined(name: str, *values: str | None) -> str:
    """The value of a setting that is a list, of the parts that several have; each part once."""
    separator = LISTS[name]
    if separator == " ":  # options of the JVM, where quotes hold spaces and a later one wins
        return separator.join(value for value in values if value)
    parts = [part.strip() for value in values if value for part in value.split(separator)]
    return separator.join(dict.fromkeys(filter(None, parts)))


def defaults(folder: Path) -> dict[str, str]:
    """The settings of the file `spark-defaults.conf` in a folder; empty where there is none."""
    path = folder / "spark-defaults.conf"
    if not path.is_file():
        return {}
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\\n[ \t]*", r"\1", path.read_text(encoding="utf-8"))
    lines = re.findall(r"^[ \t]*([^#!\s=:][^\s=:]*)[ \t]*[=: \t][ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in lines}
