"""Which landed files are ingested, and writes that ingest a set of new files exactly once.

A file is identified by its bytes and the mapping that read it: under a changed mapping it is new again,
and the rows it gave before are replaced. Files that must leave or be read again (`landing.outdated`) are first
taken out of `ingested_files`; their rows are then leftovers as those of a killed run. How a line becomes an
event is not known here.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from expectations.figures import FileLines, KindLines
from expectations.kinds import KINDS
from expectations.losses_of_columns import compared
from expectations.new_lines import kinds_of
from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS, Table
from spark_jobs.config import Job, SourceConfig
from spark_jobs.figures import EventsFigures
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.event_lines import BESIDE_ANOTHER, DUPLICATE, RULES, rule_problem
from spark_jobs.landing.fields import RULES_NUMBER
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.outdated import SHADOWED, renamed, split_digest
from spark_jobs.landing.reading import EXCLUDED, Mapped
from spark_jobs.landing.reasons import REASONS
from spark_jobs.landing.stored import as_json, changed_rows, refuse_stored, stored_counts, update


@dataclass(frozen=True)
class FileCounts:
    """Checked lines of one file."""

    by_reason: dict[str | None, int] = field(default_factory=dict)
    """Lines by reason; the reason of an accepted line is None."""
    repeats: int = 0
    """Lines that repeat another line of the file exactly, accepted or refused."""
    accepted_repeats: int = 0
    """Those of them that became events."""
    nulls: dict[str, int] = field(default_factory=dict)
    """Accepted lines without a value, by column."""
    kinds: dict[str, dict[str, KindLines]] = field(default_factory=dict)
    """Sampled lines by column and kind of value."""


Counts = dict[str, FileCounts]
"""By file_id."""


class Ingestion:
    """The writes of one set of new files. A table that holds exactly the rows of the ingested files gets the
    new rows appended; where an earlier run was killed before it finished, its leftovers are replaced."""

    def __init__(
        self, spark: SparkSession, job: Job, new: list[LandedFile], ingested: dict[str, Row]
    ) -> None:
        self._spark, self._lake, self._source = spark, job.lake, job.source.name
        # The version distinguishes two ingestions of the same files; a killed run and its rerun share it.
        version = delta.latest_version(spark, job.lake, job.source.name, INGESTED_FILES)
        self.number = 0 if version is None else version + 1
        """Above every version of `ingested_files` that a cycle can have passed, and not above those to come."""
        files = "".join(sorted(file.file_id for file in new))
        self._transaction = f"files-{hashlib.sha256(files.encode()).hexdigest()}-{version}"
        self._expected_rows = {
            EVENTS.name: sum(row["accepted_count"] for row in ingested.values()),
            REJECTED_EVENTS.name: sum(row["rejected_count"] for row in ingested.values()),
            INGESTED_FILES.name: len(ingested),
        }
        self.committed = delta.within("file_id", sorted(ingested))
        """SQL predicate: the row belongs to an ingested file."""

    def interrupted(self, table: Table) -> bool:
        """Whether the table holds more or fewer rows than its ingested files gave."""
        rows = delta.row_count(self._spark, self._lake, self._source, table)
        return rows != self._expected_rows[table.name]

    def write(self, rows: DataFrame, table: Table, count: int) -> int:
        """Writes `rows`, `count` of them, into `table`; returns its version."""
        place = (self._lake, self._source)
        if self.interrupted(table):
            return delta.replace(self._spark, rows, table, *place, f"NOT {self.committed}")
        if not count:
            return delta.create(self._spark, *place, table)
        return delta.append_once(self._spark, rows, table, *place, self._transaction)


def ingested_files(spark: SparkSession, lake: str, source: str) -> dict[str, Row]:
    """Rows of `ingested_files` by file_id; empty before the first ingestion. Tables of an earlier release are
    brought up to the contract first."""
    if delta.latest_version(spark, lake, source, INGESTED_FILES) is None:
        return {}
    for table in (EVENTS, REJECTED_EVENTS, INGESTED_FILES):
        delta.create(spark, lake, source, table)
    return {row["file_id"]: row for row in delta.small_table(spark, lake, source, INGESTED_FILES)}


_NOT_READ = {"name", "title", "landing", "items", "tags", "edges", "high_value", "reward"}
"""Parts of a source that no line of its event files depends on."""
_RULES = {"actions", "earliest", "latest"}
"""Parts that only refuse lines: what they change can be told from what is stored."""


def mapping_digest(source: SourceConfig) -> str:
    """Digest of what decides what a line of a file becomes: of the mapping, a dot, and of bounds and actions."""
    mapping = source.model_dump(mode="json", exclude=_NOT_READ | _RULES) | {"rules": RULES_NUMBER}
    del mapping["events"]["files"], mapping["events"]["table"]
    rules = source.model_dump(mode="json", include=_RULES)
    return ".".join(
        hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]
        for part in (mapping, rules)
    )


def held_to_rules(
    spark: SparkSession, job: Job, files: list[LandedFile], ingested: dict[str, Row]
) -> tuple[dict[str, Row], set[str]]:
    """Holds what was ingested under other bounds or actions to today's, and keeps names up to date.

    Stored events that are refused today and whose file is landed no more move to `rejected_events`. Returns the
    rows of `ingested_files`, and the file_ids of landed files that must be read again since a line of theirs
    changes. Appending an action reads again only files with a line that was refused for its action.
    """
    mapping, rules = split_digest(mapping_digest(job.source))
    parts = {
        file_id: split_digest(row["mapping_digest"])
        for file_id, row in ingested.items()
        if row["mapping_digest"]
    }
    landed = {file.file_id for file in files}
    stale = {file_id for file_id, (_, of_rules) in parts.items() if of_rules != rules}
    gone = sorted(stale - landed)
    same = sorted(file_id for file_id in stale & landed if parts[file_id][0] == mapping)
    touched = _touched(spark, job, same) if same else set()
    if gone:
        is_gone = F.col("file_id").isin(*gone)
        refuse_stored(
            spark, job.lake, job.source.name, rule_problem(job.source), as_json(_events(spark, job)), is_gone
        )
        ingested = ingested_files(spark, job.lake, job.source.name)
    settled = {file_id: f"{parts[file_id][0]}.{rules}" for file_id in {*gone, *same} - touched}
    names = renamed(files, ingested)
    if settled or names:
        rows = [ingested[file_id] for file_id in sorted({*settled, *names})]
        update(spark, job.lake, job.source.name, changed_rows(rows, mapping_digest=settled, file_path=names))
        ingested = ingested_files(spark, job.lake, job.source.name)
    return ingested, touched


def _touched(spark: SparkSession, job: Job, file_ids: list[str]) -> set[str]:
    """Of these files, those with a line that bounds or actions refused, or with an event that they refuse today."""
    among = F.col("file_id").isin(*file_ids)
    refused = delta.read(spark, job.lake, job.source.name, REJECTED_EVENTS)
    refused = refused.where(among & F.col("reason").isin(*RULES))
    stored = _events(spark, job).where(among & rule_problem(job.source).isNotNull())
    both = refused.select("file_id").union(stored.select("file_id")).distinct()
    return {row["file_id"] for row in both.collect()}


def _events(spark: SparkSession, job: Job) -> DataFrame:
    return delta.read(spark, job.lake, job.source.name, EVENTS)


def lost_rows(spark: SparkSession, job: Job, ingested: dict[str, Row]) -> set[str]:
    """file_ids of ingested files that have other numbers of stored rows than they gave: somebody deleted rows.

    Where a source keeps the last line, a killed run leaves as many rows or more on other sides than the counts say;
    `landing.replacement` repairs these without reading the file again, so only files with fewer rows count.
    """
    whole = (
        sum(row[name] for row in ingested.values())
        == delta.row_count(spark, job.lake, job.source.name, table)
        for table, name in ((EVENTS, "accepted_count"), (REJECTED_EVENTS, "rejected_count"))
    )
    if not ingested or all(whole):
        return set()
    stored = stored_counts(spark, job.lake, job.source.name)
    now = {file_id: stored.get(file_id, (0, 0)) for file_id in ingested}
    if job.source.on_conflict == "keep_last":
        return {file_id for file_id, row in ingested.items() if sum(now[file_id]) < row["line_count"]}
    return {
        file_id
        for file_id, row in ingested.items()
        if now[file_id] != (row["accepted_count"], row["rejected_count"])
    }


def shadowed(
    spark: SparkSession, job: Job, files: list[LandedFile], ingested: dict[str, Row], why: Mapping[str, str]
) -> dict[str, str]:
    """The reason by file_id for landed files that may hold, as a refused repeat, an event that leaves with
    another file."""
    if not any(ingested[file_id]["accepted_count"] for file_id in why):
        return {}
    landed = {file.file_id for file in files}
    found = _with_repeats(spark, job) & landed & set(ingested) - set(why)
    return dict.fromkeys(sorted(found), SHADOWED)


def forget(
    spark: SparkSession, job: Job, ingested: dict[str, Row], outdated: Collection[str]
) -> dict[str, Row]:
    """Takes files out of `ingested_files`; returns the remaining rows by file_id. This write comes first: a run
    killed after it is an interrupted ingestion, which the next run repairs."""
    if not outdated:
        return ingested
    nothing = local_rows(spark, [], INGESTED_FILES.ddl)
    where = delta.within("file_id", sorted(outdated))
    delta.replace(spark, nothing, INGESTED_FILES, job.lake, job.source.name, where)
    return {file_id: row for file_id, row in ingested.items() if file_id not in set(outdated)}


READ_AGAIN = "again."
"""A mapping digest that is nobody's: a file that has it is read again by the next ingestion if it is landed."""


def take_out(
    spark: SparkSession, job: Job, ingested: dict[str, Row], why: Mapping[str, str]
) -> tuple[int, int, int]:
    """Takes the rows of files out of the tables; completes what a killed call has left undone.

    Returns how many events and refused lines left, and how many other files are read again by the next
    ingestion, since a line that was refused as a repeat may be an event now.
    """
    place = (job.lake, job.source.name)
    if not ingested:
        return 0, 0, 0
    before = [delta.row_count(spark, *place, table) for table in (EVENTS, REJECTED_EVENTS)]
    repeats = _with_repeats(spark, job) - set(why) if why else set()
    marked = [ingested[file_id] for file_id in sorted(repeats & set(ingested))]
    if marked:
        digests = {row["file_id"]: READ_AGAIN for row in marked}
        update(spark, *place, changed_rows(marked, mapping_digest=digests))
    remaining = forget(spark, job, ingested, why)
    writes = Ingestion(spark, job, [], remaining)
    for table in (REJECTED_EVENTS, EVENTS):
        writes.write(spark.createDataFrame([], table.ddl), table, 0)
    after = [delta.row_count(spark, *place, table) for table in (EVENTS, REJECTED_EVENTS)]
    return before[0] - after[0], before[1] - after[1], len(marked)


def _with_repeats(spark: SparkSession, job: Job) -> set[str]:
    """file_ids of files with a line that was refused as a repeat."""
    refused = delta.read(spark, job.lake, job.source.name, REJECTED_EVENTS)
    repeats = refused.where(F.col("reason").isin(*BESIDE_ANOTHER)).select("file_id").distinct()
    return {row["file_id"] for row in repeats.collect()}


def refused_by_reason(spark: SparkSession, lake: str, source: str) -> dict[str, int]:
    """Refused lines of every file by reason; empty before the first ingestion."""
    if delta.latest_version(spark, lake, source, REJECTED_EVENTS) is None:
        return {}
    counts = delta.read(spark, lake, source, REJECTED_EVENTS).groupBy("reason").count().collect()
    return {row["reason"]: row["count"] for row in counts}


def mark_for_reading(
    spark: SparkSession, job: Job, reasons: Collection[str], landed: Collection[str]
) -> tuple[int, int]:
    """Marks the landed files with a line refused for one of `reasons`, so that the next ingestion reads them
    again; returns how many there are, and how many such files are landed no more."""
    refused = delta.read(spark, job.lake, job.source.name, REJECTED_EVENTS)
    found = refused.where(F.col("reason").isin(*reasons)).select("file_id").distinct().collect()
    ingested = ingested_files(spark, job.lake, job.source.name)
    file_ids = {row["file_id"] for row in found} & set(ingested)
    rows = [ingested[file_id] for file_id in sorted(file_ids & set(landed))]
    # A file that could not be read is tried again without a mark.
    rows = [row for row in rows if row["mapping_digest"]]
    if rows:
        digests = {row["file_id"]: READ_AGAIN for row in rows}
        update(spark, job.lake, job.source.name, changed_rows(rows, mapping_digest=digests))
    return len(file_ids & set(landed)), len(file_ids - set(landed))


def split_new(files: list[LandedFile], ingested: set[str]) -> tuple[list[LandedFile], list[LandedFile]]:
    """The files to ingest, one per content, and the files to skip; `ingested` are file_ids."""
    new: dict[str, LandedFile] = {}
    skipped = []
    for file in files:
        if file.file_id in ingested or file.file_id in new:
            skipped.append(file)
        else:
            new[file.file_id] = file
    return list(new.values()), skipped


def line_counts(lines: DataFrame, optional: Sequence[str], columns: Sequence[str]) -> Counts:
    """Counts numbered lines by file and problem. `optional` are the mapped columns that a line may leave empty, `columns`
    those that the letters in `kinds` are of."""
    nulls = [F.count_if(F.col(name).isNull()).alias(name) for name in optional]
    lines_of_a_kind = lines.groupBy("file_id", "problem", "kinds").agg(
        F.count(F.lit(1)).alias("__lines"), F.count_if("repeats").alias("__repeats"), *nulls
    )
    rows: dict[str, list[Row]] = {}
    for row in lines_of_a_kind.collect():
        rows.setdefault(row["file_id"], []).append(row)
    return {
        file_id: FileCounts(
            by_reason=_by_reason(of_file),
            repeats=sum(row["__repeats"] for row in of_file),
            accepted_repeats=sum(row["__repeats"] for row in of_file if row["problem"] is None),
            nulls={name: sum(row[name] for row in of_file if row["problem"] is None) for name in optional},
            kinds=_by_kind(of_file, columns),
        )
        for file_id, of_file in rows.items()
    }


def _by_reason(rows: list[Row]) -> dict[str | None, int]:
    counts: Counter[str | None] = Counter()
    for row in rows:
        counts[row["problem"]] += row["__lines"]
    return dict(counts)


def _by_kind(rows: list[Row], columns: Sequence[str]) -> dict[str, dict[str, KindLines]]:
    lines: dict[str, Counter[str]] = {column: Counter() for column in columns}
    faulty: dict[str, Counter[str]] = {column: Counter() for column in columns}
    for row in rows:
        for column, letter in zip(columns, row["kinds"] or "", strict=False):
            lines[column][KINDS[letter]] += row["__lines"]
            if row["problem"] is not None and row["problem"] not in REASONS.not_faulty:
                faulty[column][KINDS[letter]] += row["__lines"]
    return {
        column: {kind: KindLines(count, faulty[column][kind]) for kind, count in sorted(counts.items())}
        for column, counts in lines.items()
        if counts
    }


def file_lines(file: LandedFile, lines: int, counted: FileCounts, mapping: str) -> FileLines:
    """What became of a file's lines, as the suites judge it; `mapping` is the digest of the mapping."""
    by_reason = Counter(counted.by_reason)
    return FileLines(
        path=file.name,
        size_bytes=file.size_bytes,
        lines=lines,
        accepted=by_reason[None],
        excluded=by_reason[EXCLUDED],
        duplicates=by_reason[DUPLICATE],
        faulty=sum(
            count for reason, count in by_reason.items() if reason and reason not in REASONS.not_faulty
        ),
        replaced=sum(by_reason[reason] for reason in REASONS.harmless),
        conflicts=sum(by_reason[reason] for reason in REASONS.conflicts),
        repeats=counted.repeats,
        nulls=counted.nulls,
        kinds=counted.kinds,
        mapping=mapping,
    )


def retyped_columns(
    files: list[LandedFile], mapped: Mapped, counts: Counts, before: dict[str, Row], job: Job
) -> tuple[str, ...]:
    """What is said of columns of the new files whose values are of another kind than in the files `before`."""
    mapping, _ = split_digest(mapping_digest(job.source))
    new = [
        file_lines(file, mapped.line_counts[file.file_id], counts[file.file_id], mapping)
        for file in files
        if file.file_id in counts
    ]
    known = [
        FileLines(
            path=row["file_path"],
            size_bytes=row["size_bytes"],
            lines=row["line_count"],
            accepted=row["accepted_count"],
            kinds=kinds_of(row["column_kinds"]),
            mapping=split_digest(row["mapping_digest"])[0],
        )
        for row in sorted(before.values(), key=lambda row: (row["ingestion"] or 0, row["file_path"]))
    ]
    return tuple(one.words for one in compared(new, known, job.losses, job.max_faulty_fraction).retyped)


def unreadable_rows(spark: SparkSession, files: list[LandedFile], mapped: Mapped) -> DataFrame:
    """Rows of `rejected_events` for the files that cannot be read at all, one row each."""
    rows = [
        (file.file_id, file.name, 1, "", mapped.unreadable[file.file_id], None)
        for file in files
        if file.file_id in mapped.unreadable
    ]
    return local_rows(spark, rows, REJECTED_EVENTS.ddl)


def log_rows(files: list[LandedFile], mapped: Mapped, counts: Counts, job: Job, number: int) -> list[tuple]:
    """Rows of `ingested_files`; `number` is the ingestion's. Raises RuntimeError when accepted + refused are
    not a file's lines."""
    rows, digest = [], mapping_digest(job.source)
    columns = json.dumps(mapped.columns, ensure_ascii=False) if mapped.columns else None
    for file in files:
        lines = mapped.line_counts[file.file_id]
        counted = (
            FileCounts({mapped.unreadable[file.file_id]: 1})
            if file.file_id in mapped.unreadable
            else counts.get(file.file_id, FileCounts())
        )
        accepted = counted.by_reason.get(None, 0)
        refused = sum(counted.by_reason.values()) - accepted
        if accepted + refused != lines:
            raise RuntimeError(
                f"{file.name}: {accepted} accepted + {refused} refused lines do not add up to its {lines} lines"
            )
        read_by = "" if file.file_id in mapped.unreadable else digest
        head = (file.file_id, file.name, file.size_bytes, lines, accepted, refused)
        losses = (counted.by_reason.get(EXCLUDED, 0), counted.by_reason.get(DUPLICATE, 0), counted.repeats)
        kinds = json.dumps(counted.kinds, ensure_ascii=False) if counted.kinds else None
        rows.append((*head, read_by, job.cycle, number, columns, *losses, json.dumps(counted.nulls), kinds))
    return rows


def file_figures(
    new: list[LandedFile],
    skipped: list[LandedFile],
    ingested: dict[str, Row],
    before: dict[str, Row],
    why: Mapping[str, str],
    landed: int = 0,
) -> EventsFigures:
    """Counts of landed files, with no line counted yet. `before` are the files that were ingested when the
    run started, `ingested` those of them that stay, `why` the reasons of the others; `landed` is the number of
    landed files, withdrawn ones included."""
    again = [f for f in skipped if f.file_id not in ingested or ingested[f.file_id]["file_path"] != f.name]
    return EventsFigures(
        files_new=len(new),
        files_read_again=sum(file.file_id in before for file in new),
        files_skipped=len(skipped),
        files_landed_again=len(again),
        bytes=sum(file.size_bytes for file in new),
        files_withdrawn=max(0, landed - len(new) - len(skipped)),
        outdated_by_reason=dict(sorted(Counter(why.values()).items())),
        events_left=sum(before[file_id]["accepted_count"] for file_id in why),
    )


def only_counted(mapped: Mapped, file_ids: Collection[str], counts: Counts) -> Mapped:
    """`mapped`, of whose files with these ids only the counted lines are lines."""
    lines = {
        file_id: sum(counts.get(file_id, FileCounts()).by_reason.values())
        for file_id in file_ids
        if file_id not in mapped.unreadable
    }
    return replace(mapped, line_counts=mapped.line_counts | lines)


def with_lines(figures: EventsFigures, mapped: Mapped, counts: Counts) -> EventsFigures:
    """`figures` with the line counts of the new files: accepted, refused, refused by reason, and repeated."""
    accepted, refused = 0, Counter(mapped.unreadable.values())
    for counted in counts.values():
        accepted += counted.by_reason.get(None, 0)
        refused.update({reason: count for reason, count in counted.by_reason.items() if reason is not None})
    lines = sum(mapped.line_counts.values())
    return replace(
        figures,
        lines=lines,
        accepted=accepted,
        rejected=lines - accepted,
        rejected_by_reason=dict(sorted(refused.items())),
        repeated=sum(counted.accepted_repeats for counted in counts.values()),
        absent_columns=mapped.absent,
    )


def new_columns(mapped: Mapped, before: dict[str, Row]) -> tuple[str, ...]:
    """Columns of the new files that no file had that was ingested before; empty where those are not known."""
    known = {name for row in before.values() if row["columns"] for name in json.loads(row["columns"])}
    return tuple(sorted(set(mapped.columns) - known)) if known else ()


def newest_versions(spark: SparkSession, lake: str, source: str) -> dict[str, int]:
    """Newest version of each existing table of the ingestion, by name."""
    versions = {
        table.name: delta.latest_version(spark, lake, source, table)
        for table in (EVENTS, REJECTED_EVENTS, INGESTED_FILES)
    }
    return {name: version for name, version in versions.items() if version is not None}
