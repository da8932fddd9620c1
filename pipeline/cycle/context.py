"""What a stage function is given: the cycle, its configuration, and what the stage declared to read.

Table versions and records of other stages are handed out by name; a name that the stage's entry in the
map does not declare raises `UndeclaredError`, so that the map, the inputs digests and the DAG's arrows
cannot fall behind the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pipeline.config import Config
from pipeline.cycle.definition import Cycle
from pipeline.cycle.records import Records, StageRecord, table_versions
from pipeline.settings import Settings
from pipeline.workflows.stage import Stage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")


class UndeclaredError(RuntimeError):
    """A stage read or wrote something that its entry in the map does not declare."""


class Declared(Mapping[str, T]):
    """What a stage may read, by name; looking up any other name raises UndeclaredError."""

    def __init__(self, stage: str, what: str, names: tuple[str, ...], content: Mapping[str, T]) -> None:
        self._stage, self._what, self._names = stage, what, names
        self._content = {name: content[name] for name in names if name in content}

    def _check(self, name: object) -> None:
        if name not in self._names:
            raise UndeclaredError(
                f"stage {self._stage} does not declare that it reads {self._what} {name}; "
                f"it declares {', '.join(self._names) or 'none'}"
            )

    def __getitem__(self, name: str) -> T:
        self._check(name)
        return self._content[name]

    def __contains__(self, name: object) -> bool:
        self._check(name)
        return name in self._content

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


@dataclass(frozen=True)
class StageContext:
    """One run of one stage of one cycle."""

    stage: Stage
    config: Config
    cycle: Cycle
    settings: Settings
    finished: Records
    """Every finished stage of this cycle, by name. Stages read `records` and `versions`."""
    say: Callable[[str], None] = print
    """Shows one line of progress."""
    inputs_digest: str = ""
    """Digest of the stage's inputs, which its record will carry."""

    @property
    def versions(self) -> Mapping[str, int]:
        """Delta version of the tables that the stage declares to read and this cycle has pinned."""
        return Declared(self.stage.name, "table", self.stage.reads, table_versions(self.finished))

    @property
    def records(self) -> Records:
        """Records of the stages that the stage declares to read."""
        return Declared(self.stage.name, "record", self.stage.records, self.finished)

    def figures(self, stage: str, kind: type[T]) -> T:
        """What a finished stage recorded, checked to be of a class. Raises KeyError when it has not run."""
        return figures_of(self.records[stage], kind)

    def session(self) -> SparkSession:
        """The process's Spark session; made at first use."""
        return spark_session(self.settings, self.config)


def spark_session(settings: Settings, config: Config) -> SparkSession:
    """The process's Spark session; made at first use, since its import takes long. Raises ObjectStoreError for a lake
    whose commits could be lost."""
    from spark_jobs.lake.object_store import require_safe_commits
    from spark_jobs.lake.session import get_session

    spark = get_session(
        settings.spark_master, "reprise", str(settings.jars), config.spark, settings.warm_jvms
    )
    require_safe_commits(spark, settings.lake)
    return spark


def figures_of(record: StageRecord, kind: type[T]) -> T:
    """A record's figures, checked to be of a class. Raises TypeError for figures of another one."""
    if not isinstance(record.figures, kind):
        raise TypeError(
            f"the record of {record.stage} holds {type(record.figures).__name__}, not {kind.__name__}"
        )
    return record.figures


def find_figures(records: Records, stage: str, kind: type[T]) -> T | None:
    """What a stage recorded; None when it has not run. Raises TypeError for figures of another class."""
    return figures_of(records[stage], kind) if stage in records else None
