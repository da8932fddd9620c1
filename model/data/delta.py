"""Delta tables at pinned versions, read by delta-rs as Arrow data.

    items = PinnedTable(lake, source, ITEMS, version)
    items.read(["item_id", "title"])                                # an Arrow table
    sequences.batches(["item_index"], cycle="2024-01-31")           # one partition, a few rows at a time
    events.dataset().head(3, filter=pc.field("reason") == reason)   # whatever else Arrow can do

A `PinnedTable` is an address and a version: nothing is opened before it is read. `replace_partition`
writes, for the one table that the model's side of the lake writes (`ranks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyarrow.dataset import Dataset
from pyarrow.fs import FileType

from expectations.crash_points import reach
from expectations.delta_log import open_table, storage_options
from expectations.tables import Table, location

ROWS_AT_ONCE = 131_072
"""Rows of a batch, unless a reader asks for fewer."""
BATCHES_AHEAD = 2
"""Batches and files that Arrow reads ahead; its defaults, 16 and 4, would hold gigabytes of histories."""

_ARROW = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


class TableError(ValueError):
    """A table that cannot be read at its version; the message gives the address and the reason."""


@dataclass(frozen=True)
class PinnedTable:
    """A source's Delta table at one version."""

    lake: str
    """Root of the lake, a folder or an object-store URI."""
    source: str
    table: Table
    version: int

    @property
    def address(self) -> str:
        """Folder or URI of the table."""
        return location(self.lake, self.source, self.table.name)

    def dataset(self) -> Dataset:
        """The table as an Arrow dataset. Raises TableError when it is missing or has no such version."""
        try:
            return open_table(self.address, self.version).to_pyarrow_dataset()
        except DeltaError as error:
            reason = str(error).splitlines()[0]
            raise TableError(f"{self.address} cannot be read at version {self.version}: {reason}") from None

    def read(self, columns: Sequence[str], where: pc.Expression | None = None, **partition: str) -> pa.Table:
        """All rows, or those that satisfy `where` in the given partition (`cycle="2024-01-31"`).

        A column that the contract has and this version does not, since an earlier release wrote it, is null. Raises
        TableError as `dataset`, or where such a column may not be null, and ValueError for a column the table is not
        partitioned by.
        """
        dataset = self.dataset()
        return dataset.to_table(
            columns=self._columns(dataset, columns), filter=self._filter(where, partition)
        )

    def batches(
        self,
        columns: Sequence[str],
        where: pc.Expression | None = None,
        rows_at_once: int = ROWS_AT_ONCE,
        **partition: str,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of `read`, streamed in the same order; no batch is empty."""
        dataset = self.dataset()
        scanner = dataset.scanner(
            columns=self._columns(dataset, columns),
            filter=self._filter(where, partition),
            batch_size=rows_at_once,
            batch_readahead=BATCHES_AHEAD,
            fragment_readahead=BATCHES_AHEAD,
        )
        return (batch for batch in scanner.to_batches() if batch.num_rows)

    def missing_files(self) -> list[str]:
        """Files of this version that are gone, vacuumed or erased. Raises TableError as `dataset`."""
        dataset = self.dataset()
        found = dataset.filesystem.get_file_info(dataset.files)
        return [one.path for one in found if one.type == FileType.NotFound]

    def _columns(self, dataset: Dataset, columns: Sequence[str]) -> dict[str, pc.Expression]:
        """The columns, null where this version lacks one."""
        contract = {column.name: column for column in self.table.columns}
        chosen: dict[str, pc.Expression] = {}
        for name in columns:
            if name in dataset.schema.names or name not in contract:
                chosen[name] = pc.field(name)
            elif contract[name].nullable:
                chosen[name] = pc.scalar(pa.scalar(None, arrow_type(contract[name].type)))
            else:
                raise TableError(
                    f"{self.address} at version {self.version} has no column {name}: an earlier release wrote it; "
                    "run its cycle again"
                )
        return chosen

    def _filter(self, where: pc.Expression | None, partition: Mapping[str, str]) -> pc.Expression | None:
        for name, value in partition.items():
            if name not in self.table.partitions:
                allowed = ", ".join(self.table.partitions) or "none"
                raise ValueError(f"{self.table.name} has no partition {name!r}; allowed: {allowed}")
            equal = pc.field(name) == value
            where = equal if where is None else where & equal
        return where


def latest(lake: str, source: str, table: Table) -> PinnedTable | None:
    """The newest version of a table; None when the table does not exist."""
    try:
        version = open_table(location(lake, source, table.name)).version()
    except TableNotFoundError:
        return None
    return PinnedTable(lake, source, table, version)


def replace_partition(lake: str, source: str, table: Table, rows: pa.Table, **partition: str) -> PinnedTable:
    """Replaces the rows of one partition; creates the table with its constraints at the first write.

    `rows` has the schema of `arrow_schema(table)`. Raises deltalake's DeltaError when a row breaks a
    constraint; the table then stays as it was.
    """
    address = location(lake, source, table.name)
    try:
        stored = open_table(address)
    except TableNotFoundError:
        stored = DeltaTable.create(
            address,
            arrow_schema(table),
            partition_by=list(table.partitions),
            storage_options=storage_options(address),
        )
        stored.alter.add_constraint(dict(table.constraints))
    predicate = " AND ".join(f"{name} = '{value}'" for name, value in partition.items())
    reach(f"before-{table.name}")
    # A table from before a column was added takes the column on.
    write_deltalake(stored, rows, mode="overwrite", predicate=predicate, schema_mode="merge")
    reach(f"after-{table.name}")
    return PinnedTable(lake, source, table, open_table(address).version())


def arrow_schema(table: Table) -> pa.Schema:
    """A contract's columns as an Arrow schema. Raises ValueError for a type that only Spark writes."""
    return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=c.nullable) for c in table.columns])


def arrow_type(name: str) -> pa.DataType:
    """Arrow's type for a contract's: `array<int>` → list of int32. Raises ValueError for a struct."""
    if name.startswith("array<"):
        return pa.list_(arrow_type(name.removeprefix("array<").removesuffix(">")))
    if name not in _ARROW:
        raise ValueError(f"column type {name!r} has no Arrow type here; allowed are {', '.join(_ARROW)}")
    return _ARROW[name]
