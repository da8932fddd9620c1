"""The contract of every table: grain, keys, columns with their units, partitions and constraints.

Standard library only: Spark jobs, the model's Delta reader, the expectation suites and the table
dictionary in `docs/tables.md` import this module, which loads none of their engines. Column names are
written here once and imported elsewhere. The dictionary's head defines high-value event, target and label.

Tables of a cycle have a `cycle` partition: recomputing a cycle replaces its own partition and nothing
else.
"""

from __future__ import annotations

from dataclasses import dataclass

ITEM_INDEX_DOC = "position of the item in `items`, 0-based, append-only"
PART_DOC = "of a table its name and the versions, `events@7` or `events@7..12`"
CYCLE_DOC = "the cycle that wrote the row: its cutoff, `2026-03-01` or `2026-03-01T0600`"


@dataclass(frozen=True)
class Column:
    """One column: its Spark SQL type, its meaning with the unit, and whether it may be null."""

    name: str
    type: str
    doc: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One Delta table. `key` identifies a row; `constraints` are SQL checks that Delta enforces on write."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partitions: tuple[str, ...] = ()
    clustered_by: tuple[str, ...] = ()
    """Columns by whose ranges the rows of one write are divided into files, so that a reader of a range
    skips files by their statistics. For tables that partitions would split into thousands of small files."""
    constraints: tuple[tuple[str, str], ...] = ()
    """Pairs of constraint name and SQL predicate over the columns of one row."""

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def type_of(self, column: str) -> str:
        """Spark's type of a column. Raises KeyError when the table has no such column."""
        return {known.name: known.type for known in self.columns}[column]

    @property
    def ddl(self) -> str:
        """The schema in Spark's DDL form, `name type NOT NULL, …`."""
        return ", ".join(
            f"{column.name} {column.type}{'' if column.nullable else ' NOT NULL'}" for column in self.columns
        )


def location(lake: str, source: str, table: str) -> str:
    """Address of a source's Delta table under the lake's root (a folder or an object-store URI)."""
    return f"{lake.rstrip('/')}/{source}/{table}"


CONTEXT_FIELDS = ("page", "position", "country", "device")
"""Observation context of an event: model inputs only, never part of an item's vector."""

REWARD_SIGNALS = ("watch_seconds", "completion_fraction", "rating")
"""Columns of `events` from which a source's reward is computed, and which tell a model how an event went."""

TOKEN_FIELDS = (*CONTEXT_FIELDS, *REWARD_SIGNALS)
"""Columns of `events` that become codes of a token, where the source has them."""


EVENTS = Table(
    name="events",
    grain="one row per event_id",
    key=("event_id",),
    columns=(
        Column(
            "event_id",
            "string",
            "the source's identifier, or derived from source, user, item, time, action and occurrence",
        ),
        Column("user_id", "string", "the source's user"),
        Column("item_id", "string", "the source's item"),
        Column("event_at", "timestamp", "when it happened, UTC, microseconds"),
        Column("action", "string", "one of the source's actions"),
        Column("watch_seconds", "double", "time spent on the item, seconds", nullable=True),
        Column(
            "completion_fraction",
            "double",
            "share of the item consumed; above 1 when repeated",
            nullable=True,
        ),
        Column("rating", "double", "explicit rating on the source's own scale", nullable=True),
        Column("page", "string", "page or surface of the observation", nullable=True),
        Column("position", "int", "0-based position on the page", nullable=True),
        Column("country", "string", "country of the observation", nullable=True),
        Column("device", "string", "device of the observation", nullable=True),
        Column(
            "file_id",
            "string",
            "SHA-256 of the landed file the event came from, or of the table and its versions",
        ),
        Column("line_number", "bigint", "1-based line (or row) within that file"),
        Column("event_date", "date", "UTC date of event_at"),
    ),
    clustered_by=("event_date", "event_at"),
    constraints=(
        ("keys_not_empty", "length(event_id) > 0 AND length(user_id) > 0 AND length(item_id) > 0"),
        ("event_date_of_event_at", "event_date = to_date(event_at)"),
        ("watch_not_negative", "watch_seconds IS NULL OR watch_seconds >= 0"),
        ("completion_not_negative", "completion_fraction IS NULL OR completion_fraction >= 0"),
    ),
)

_REJECTED_COLUMNS = (
    Column("file_id", "string", "SHA-256 of the landed file, or of the table and its versions"),
    Column("file_path", "string", f"path of the landed file, relative to the landing folder; {PART_DOC}"),
    Column("line_number", "bigint", "1-based line (or row) within that file"),
    Column("raw", "string", "the line as it landed, cut to 10,000 characters"),
    Column("reason", "string", "why it was refused"),
)

REJECTED_EVENTS = Table(
    name="rejected_events",
    grain="one row per refused event line",
    key=("file_id", "line_number"),
    columns=(
        *_REJECTED_COLUMNS,
        Column(
            "event_date",
            "date",
            "UTC date of the line's time; null where it has none that can be read, and in lines of earlier releases",
            nullable=True,
        ),
    ),
)

REJECTED_ITEMS = Table(
    name="rejected_items",
    grain="one row per line of an item file that is refused, or used without a field",
    key=("file_id", "line_number"),
    columns=_REJECTED_COLUMNS,
)

INGESTED_FILES = Table(
    name="ingested_files",
    grain="one row per landed event file, or part of a table's history, that has been ingested",
    key=("file_id",),
    columns=(
        Column(
            "file_id",
            "string",
            "SHA-256 of the file's bytes, and of the values that its folders give; of a table's id and the versions",
        ),
        Column(
            "file_path",
            "string",
            f"path relative to the landing folder, the latest where it was renamed; {PART_DOC}",
        ),
        Column(
            "size_bytes",
            "bigint",
            "size of the file, or of the files that the table gained, bytes; 0 where its change feed tells the rows",
        ),
        Column("line_count", "bigint", "lines (or rows) read; accepted + rejected"),
        Column("accepted_count", "bigint", "lines that became events"),
        Column("rejected_count", "bigint", "lines refused"),
        Column(
            "mapping_digest",
            "string",
            "digest of the mapping that read it, a dot, and that of the source's bounds and actions; empty for an "
            "unreadable file, which every run tries again",
        ),
        Column("cycle", "string", CYCLE_DOC),
        Column(
            "ingestion",
            "bigint",
            "number of the ingestion that wrote the row, below the versions that hold it; 0 for those of earlier releases",
            nullable=True,
        ),
        Column(
            "columns",
            "string",
            "columns of the files that were ingested together, a JSON array; null for those of earlier releases",
            nullable=True,
        ),
        Column("excluded_count", "bigint", "lines refused that the mapping's where excludes", nullable=True),
        Column(
            "duplicate_count",
            "bigint",
            "lines refused whose event was known with the same content",
            nullable=True,
        ),
        Column(
            "repeat_count",
            "bigint",
            "lines that repeat another line of the file exactly, accepted or refused; null for files of earlier "
            "releases, as is null_counts",
            nullable=True,
        ),
        Column(
            "null_counts",
            "string",
            "accepted lines without a value by mapped column that may lack one, a JSON object",
            nullable=True,
        ),
        Column(
            "column_kinds",
            "string",
            "sampled lines, and faulty ones among them, by column that the mapping names and kind of value, a JSON object; "
            "null for files of earlier releases",
            nullable=True,
        ),
    ),
    constraints=(("lines_add_up", "accepted_count + rejected_count = line_count"),),
)

ITEMS = Table(
    name="items",
    grain="one row per item ever seen, in events or in item metadata",
    key=("item_id",),
    columns=(
        Column("item_id", "string", "the source's item"),
        Column("item_index", "int", ITEM_INDEX_DOC),
        Column("title", "string", "title", nullable=True),
        Column("description", "string", "synopsis or other free text", nullable=True),
        Column(
            "launched_at",
            "timestamp",
            "launch instant, UTC; null when unknown, never inferred",
            nullable=True,
        ),
        Column(
            "tags",
            "array<struct<tag: string, tagged_at: timestamp>>",
            "annotation tags; tagged_at null when undated",
        ),
        Column(
            "edges", "array<struct<relation: string, entity: string>>", "knowledge-graph edges of the item"
        ),
        Column(
            "retired",
            "boolean",
            "whether the source has withdrawn the item; null when it does not say",
            nullable=True,
        ),
    ),
    constraints=(("item_index_not_negative", "item_index >= 0"),),
)

TEXT_VECTORS = Table(
    name="text_vectors",
    grain="one row per distinct item text and encoder",
    key=("text_digest", "encoder"),
    columns=(
        Column("text_digest", "string", "SHA-256 of the encoded text"),
        Column("encoder", "string", "name and version of the sentence encoder"),
        Column("vector", "array<float>", "the text's vector, unit length"),
    ),
)

ITEM_FEATURES = Table(
    name="item_features",
    grain="one row per item and cycle",
    key=("cycle", "item_index"),
    columns=(
        Column("cycle", "string", CYCLE_DOC),
        Column("item_index", "int", ITEM_INDEX_DOC),
        Column(
            "language", "array<float>", "text vector of title and description; zeros when there is no text"
        ),
        Column(
            "graph",
            "array<float>",
            "knowledge-graph vector by message passing; zeros when there are no edges",
        ),
        Column(
            "annotation", "array<float>", "vector of the tags known at the split; zeros when there are none"
        ),
    ),
    partitions=("cycle",),
)

VOCABULARY = Table(
    name="vocabulary",
    grain="one row per in-vocabulary item and cycle",
    key=("cycle", "item_token"),
    columns=(
        Column("cycle", "string", CYCLE_DOC),
        Column(
            "item_token",
            "int",
            "row of the ID embedding table, 0-based; items of the parent's vocabulary keep theirs",
        ),
        Column("item_index", "int", ITEM_INDEX_DOC),
        Column("event_count", "bigint", "the item's events up to the split"),
        Column("added_in", "string", "the cycle that assigned the token"),
        Column("retired", "boolean", "true for a tombstone: the token is kept, the item is no longer scored"),
    ),
    partitions=("cycle",),
    constraints=(("item_token_not_negative", "item_token >= 0"),),
)

_HISTORY_COLUMNS = (
    Column("cycle", "string", CYCLE_DOC),
    Column("user_id", "string", "the source's user"),
    Column("chunk", "int", "0-based number of the chunk within the user's history"),
    Column(
        "first_position", "bigint", "position in the user's whole history of the row's first event, 0-based"
    ),
    Column(
        "item_index",
        "array<int>",
        ITEM_INDEX_DOC + "; one entry per event, in time order, as are the arrays below",
    ),
    Column("action", "array<tinyint>", "index into the source's list of actions"),
    Column("event_at_us", "array<bigint>", "event time, microseconds since 1970-01-01 UTC"),
    Column("reward", "array<float>", "reward weight r of the event; 0 for an event that is not high-value"),
    Column(
        "page",
        "array<smallint>",
        "hashed code of the context field, 0 when missing; null when the source lacks the field",
        nullable=True,
    ),
    Column("position", "array<smallint>", "1 + position on the page, 0 where missing", nullable=True),
    Column("country", "array<smallint>", "as page", nullable=True),
    Column("device", "array<smallint>", "as page", nullable=True),
    Column(
        "watch_seconds",
        "array<smallint>",
        "1 + two steps for each doubling of 1 + the seconds, 0 where missing",
        nullable=True,
    ),
    Column("completion_fraction", "array<smallint>", "1 + tenths, 0 where missing", nullable=True),
    Column("rating", "array<smallint>", "1 + halves, 0 where missing or negative", nullable=True),
)

SEQUENCES = Table(
    name="sequences",
    grain="one row per chunk of one user's history up to the split, per cycle",
    key=("cycle", "user_id", "chunk"),
    columns=(
        *_HISTORY_COLUMNS,
        Column(
            "loss_start",
            "int",
            "array index of the row's first loss position; events before it are context only",
        ),
        Column(
            "target_positions",
            "array<int>",
            "array indices of the row's targets, its high-value events, ascending",
        ),
        Column(
            "tail_item_index",
            "array<int>",
            "look-ahead: items of the next targets after the row's end, never after the split",
        ),
        Column(
            "tail_event_at_us", "array<bigint>", "look-ahead: their times, microseconds since 1970-01-01 UTC"
        ),
        Column("tail_reward", "array<float>", "look-ahead: their reward weights"),
    ),
    partitions=("cycle",),
    constraints=(
        (
            "arrays_match",
            "size(item_index) = size(action) AND size(item_index) = size(event_at_us) AND size(item_index) = size(reward)",
        ),
        ("loss_start_inside", "loss_start >= 0 AND loss_start < size(item_index)"),
        (
            "tails_match",
            "size(tail_item_index) = size(tail_event_at_us) AND size(tail_item_index) = size(tail_reward)",
        ),
        ("first_chunk_starts_at_zero", "chunk > 0 OR (first_position = 0 AND loss_start = 0)"),
    ),
)

EVALUATION_SEQUENCES = Table(
    name="evaluation_sequences",
    grain="one row per user with a label in the evaluation window, per cycle",
    key=("cycle", "user_id"),
    columns=(
        *(column for column in _HISTORY_COLUMNS if column.name != "chunk"),
        Column(
            "label_positions",
            "array<int>",
            "array indices of the row's labels, its high-value events in (split, cutoff], ascending",
        ),
    ),
    partitions=("cycle",),
    constraints=(
        (
            "arrays_match",
            "size(item_index) = size(action) AND size(item_index) = size(event_at_us) AND size(item_index) = size(reward)",
        ),
        ("has_a_label", "size(label_positions) > 0"),
    ),
)

_AFTER_SPLIT = "false: up to the split, which is all that training opens; true: after it"

ITEM_SIGNALS = Table(
    name="item_signals",
    grain="one row per item and bucket of time with events, up to the cutoff, per cycle",
    key=("cycle", "after_split", "item_index", "bucket_end_us"),
    columns=(
        Column("cycle", "string", CYCLE_DOC),
        Column("after_split", "boolean", f"side of the split on which the bucket ends; {_AFTER_SPLIT}"),
        Column("item_index", "int", ITEM_INDEX_DOC),
        Column(
            "bucket_end_us",
            "bigint",
            "end of the bucket, which it excludes, microseconds since 1970-01-01 UTC; buckets are aligned there",
        ),
        Column("events", "bigint", "the item's events before the bucket's end, a running total"),
        Column(
            "first_event_at_us", "bigint", "time of the item's first event, microseconds since 1970-01-01 UTC"
        ),
        Column(
            "decayed",
            "array<double>",
            "decayed counts of the events before the bucket's end: the sum of 2^(-age/h), one for each half-life h in order",
        ),
        Column(
            "decayed_high_value",
            "double",
            "the same over high-value events, at the middle half-life (index n div 2 of n)",
        ),
    ),
    partitions=("cycle", "after_split"),
    constraints=(
        ("item_index_not_negative", "item_index >= 0"),
        ("events_before_the_end", "events > 0 AND first_event_at_us < bucket_end_us"),
        ("has_half_lives", "size(decayed) > 0"),
        ("decayed_not_negative", "array_min(decayed) >= 0 AND decayed_high_value >= 0"),
    ),
)

SUCCESSORS = Table(
    name="successors",
    grain="one row per event that has an earlier event of its user, up to the cutoff, per cycle",
    key=("cycle", "after_split", "user_id", "position"),
    columns=(
        Column("cycle", "string", CYCLE_DOC),
        Column("after_split", "boolean", f"side of the split on which the event lies; {_AFTER_SPLIT}"),
        Column("user_id", "string", "the source's user"),
        Column("position", "bigint", "position of the event in the user's whole history, 0-based"),
        Column("item_index", "int", ITEM_INDEX_DOC),
        Column("event_at_us", "bigint", "event time, microseconds since 1970-01-01 UTC"),
        Column(
            "previous_items",
            "array<int>",
            "items of the user's events before it, the nearest first; the event's own item may be among them",
        ),
    ),
    partitions=("cycle", "after_split"),
    clustered_by=("event_at_us",),
    constraints=(
        ("item_index_not_negative", "item_index >= 0"),
        ("has_previous_items", "size(previous_items) > 0 AND size(previous_items) <= position"),
    ),
)

RANKS = Table(
    name="ranks",
    grain="one row per evaluation example, protocol, delay and model, per cycle",
    key=("cycle", "model", "protocol", "delay_hours", "user_id", "position"),
    columns=(
        Column("cycle", "string", CYCLE_DOC),
        Column("model", "string", "what ranked: the candidate, the champion, a rung or a yardstick"),
        Column(
            "model_digest", "string", "digest of the ranking model's weights, or the yardstick's definition"
        ),
        Column("protocol", "string", "replay or cutoff"),
        Column("delay_hours", "double", "serving delay, hours"),
        Column("user_id", "string", "the source's user"),
        Column("position", "bigint", "position of the label in the user's whole history, 0-based"),
        Column("item_index", "int", ITEM_INDEX_DOC),
        Column("event_at_us", "bigint", "time of the label, microseconds since 1970-01-01 UTC"),
        Column("history_length", "int", "events of the history that was ranked from"),
        Column("tasks", "array<string>", "the tasks the example counts for"),
        Column("slices", "array<string>", "the slices the example belongs to"),
        Column(
            "rank",
            "double",
            "rank of the label among all eligible items, 1 is best, ties at half; catalogue_size + 1 when it is not one",
        ),
        Column("catalogue_size", "int", "eligible items ranked"),
        Column(
            "log_probability",
            "double",
            "log-probability of the label over all eligible items; null for a yardstick",
            nullable=True,
        ),
        Column(
            "rank_unseen",
            "double",
            "rank among the eligible items without an event in the history that was ranked from; null for a label "
            "whose item has one",
            nullable=True,
        ),
        Column(
            "label_events",
            "bigint",
            "events of the label's item up to the split; 0 for an item outside the vocabulary",
            nullable=True,
        ),
    ),
    partitions=("cycle", "model"),
    constraints=(("rank_in_range", "rank >= 1 AND rank <= catalogue_size + 1"),),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        EVENTS,
        REJECTED_EVENTS,
        INGESTED_FILES,
        ITEMS,
        REJECTED_ITEMS,
        TEXT_VECTORS,
        ITEM_FEATURES,
        VOCABULARY,
        SEQUENCES,
        EVALUATION_SEQUENCES,
        ITEM_SIGNALS,
        SUCCESSORS,
        RANKS,
    )
}
"""Every table of a source's lake by name, in the order in which data flows."""
