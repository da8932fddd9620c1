"""What the log of a Delta table says, read by delta-rs: a question that a Spark job answers in a second of CPU takes
milliseconds here.

    delta_log.row_count(lake, source, EVENTS)            # from the statistics of its files; no file is opened
    delta_log.file_names(lake, source, EVENTS, version)
    delta_log.rows(lake, source, INGESTED_FILES)         # of a small table, whole

Rows of tables that grow are read by `model.data.delta` and by Spark.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from expectations.tables import Table, location


class LogError(RuntimeError):
    """A version of a table that cannot be opened; the message names the address, the version and the cause."""


def open_table(address: str, version: int | None = None) -> DeltaTable:
    """A table at a version, by default the newest. Raises deltalake's DeltaError where there is none."""
    return DeltaTable(address, version=version, storage_options=storage_options(address))


def storage_options(address: str) -> dict[str, str]:
    """What delta-rs is told of the store of an address. Server, region and keys of S3 it takes from the environment
    (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and others), as Spark does."""
    if not address.startswith(("s3://", "s3a://")):
        return {}
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    options = {"aws_endpoint_url": server, "aws_allow_http": "true" if server.startswith("http://") else ""}
    # A commit is refused when another writer has made its version.
    return {name: value for name, value in options.items() if value} | {"aws_conditional_put": "etag"}


def row_count(lake: str, source: str, table: Table) -> int | None:
    """Rows of the newest version, 0 where there is no table; None where a file's statistics do not say. Raises LogError."""
    newest = _newest(location(lake, source, table.name))
    if newest is None:
        return 0
    counts = pa.table(newest.get_add_actions(flatten=True))["num_records"].to_pylist()
    return None if None in counts else sum(counts)


def file_names(lake: str, source: str, table: Table, version: int | None = None) -> set[str]:
    """Names of a version's files, by default the newest's, without their folders. Raises LogError, also where there is no
    such version."""
    address = location(lake, source, table.name)
    try:
        files = open_table(address, version).file_uris()
    except (DeltaError, OSError) as error:
        wanted = "" if version is None else f" at version {version}"
        raise LogError(f"{address} cannot be read{wanted}: {str(error).splitlines()[0]}") from error
    return {file_name(file) for file in files}


def rows(lake: str, source: str, table: Table) -> list[dict[str, Any]]:
    """Every row of the newest version; none where there is no table. Raises LogError."""
    newest = _newest(location(lake, source, table.name))
    return [] if newest is None else newest.to_pyarrow_table().to_pylist()


def _newest(address: str) -> DeltaTable | None:
    try:
        return open_table(address)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise LogError(f"{address} cannot be read: {str(error).splitlines()[0]}") from error


def file_name(address: str) -> str:
    """A file's name, from its path or URI."""
    return unquote(address.rsplit("/", 1)[-1])
