"""What each Spark job measured: one frozen dataclass a job, for the cycle's record.

Plain JSON values only, so that `dataclasses.asdict` is the record. No Spark is imported here: the
stages, the report and the DAG's end screen read figures without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SEQUENCES_RULES = 1
"""Number of the rules by which events become rows of `sequences`. A change of what a row holds for the same events and
configuration raises it, so that no cycle takes over rows of other rules."""


@dataclass(frozen=True)
class EventsFigures:
    """What `spark_jobs.events` ingested. Line counts cover the new files only."""

    files_new: int
    """Files ingested by this run, those read again included."""
    files_read_again: int
    """New files that an earlier run had ingested with another mapping or could not read."""
    files_skipped: int
    """Files whose content is ingested already, or that repeat a new file's content."""
    files_landed_again: int
    """Skipped files whose content was ingested under another name."""
    bytes: int
    """Size of the new files, compressed where they are."""
    lines: int = 0
    """Lines (or rows) of the new files; accepted + rejected."""
    accepted: int = 0
    """Lines that became events."""
    rejected: int = 0
    """Lines refused: the sum of `rejected_by_reason`."""
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    """Refused lines by reason, sorted by reason."""
    absent_columns: tuple[str, ...] = ()
    """Columns that the mapping names and no new file has."""
    new_columns: tuple[str, ...] = ()
    """Columns of the new files that no file had before."""
    retyped: tuple[str, ...] = ()
    """Columns of new files whose values are of another kind than before, or that have vanished, a sentence each."""
    files_withdrawn: int = 0
    """Landed files that are withdrawn, and so not read."""
    outdated_by_reason: dict[str, int] = field(default_factory=dict)
    """Ingested files that left or were read again, by reason (`landing.outdated`)."""
    events_left: int = 0
    """Events that they had given; those that are read again are among `accepted`."""
    repeated: int = 0
    """Accepted lines that repeat another line of their file exactly."""
    replaced: int = 0
    """Events of earlier files that lines of the new files replaced."""
    empty_files: tuple[str, ...] = ()
    """Names of new files without a line: no bytes, or no more than a header."""


@dataclass(frozen=True)
class CatalogueLines:
    """Lines of the item, tag or edge files; a file that several mappings read counts for each."""

    kind: str
    """`items`, `tags` or `edges`."""
    lines: int
    faulty: int
    """Lines refused, but for superseded and excluded ones."""
    without_a_field: int
    """Lines used without a field that cannot be read."""
    unreadable: int = 0
    """Files that cannot be read, a faulty line each."""


@dataclass(frozen=True)
class ItemsFigures:
    """What `items` holds after `spark_jobs.items`."""

    items: int
    """Rows of the table."""
    items_new: int
    """Items numbered by this run."""
    items_with_title: int
    items_with_description: int
    items_with_launch: int
    """Items whose launch instant is known."""
    items_with_tags: int
    """Items with at least one tag."""
    items_with_edges: int
    """Items with at least one knowledge-graph edge."""
    rejected: int
    """Lines of item, tag and edge files refused: the sum of `rejected_by_reason`."""
    rejected_by_reason: dict[str, int]
    """Refused lines by reason, sorted by reason."""
    kept_without: int = 0
    """Lines used without a field that cannot be read: the sum of `kept_without_by_reason`."""
    kept_without_by_reason: dict[str, int] = field(default_factory=dict)
    """Such lines by reason, sorted by reason."""
    catalogue: tuple[CatalogueLines, ...] = ()
    """Lines by kind of file."""
    empty_files: tuple[str, ...] = ()
    """Names of item, tag and edge files without a line: no bytes, or no more than a header."""


@dataclass(frozen=True)
class VocabularyFigures:
    """What `spark_jobs.vocabulary` measured on the interval whose events the parent could not know."""

    cold_start_rate: float
    """`cold_labels` / `labels`, a fraction; 0 where there is no label."""
    masking_rate: float
    """`cold_start_rate` between the configured floor and ceiling, a fraction."""
    labels: int
    """High-value events of the interval."""
    cold_labels: int
    """Those of them whose item was outside the vocabulary."""


@dataclass(frozen=True)
class ItemFeaturesFigures:
    """What `spark_jobs.item_features` wrote."""

    known_items: int
    """Items with an event or a launch up to the split, on which features are fitted."""
    texts_encoded: int
    """Texts that no earlier cycle had encoded; 0 without a language encoder."""
    items: int
    """Rows of the cycle's partition."""
    vectors_by_modality: dict[str, int]
    """Items whose vector is not all zeros: `language`, `graph`, `annotation`."""


@dataclass(frozen=True)
class SequencesFigures:
    """What `spark_jobs.sequences` wrote."""

    events: int
    """Events up to the split; equal to `loss_positions`."""
    rows: int
    users: int
    stored_tokens: int
    """Array entries over all rows, repeated context included."""
    loss_positions: int
    targets: int
    """High-value events at loss positions."""
    tail_targets: int
    """Targets stored in look-ahead tails, repetitions included."""
    bytes_on_disk: int
    bytes_per_token: float
    """Compressed bytes on disk per stored token."""
    overlap_fraction: float
    """Share of stored tokens that repeat context."""
    rules: int = 0
    """Number of the rules that made the rows (`SEQUENCES_RULES`); 0 in records from before it was kept."""


@dataclass(frozen=True)
class EvaluationSequencesFigures:
    """What `spark_jobs.evaluation_sequences` wrote."""

    users: int
    """Rows: users with a label in the evaluation window."""
    stored_tokens: int
    """Array entries over all rows."""
    labels: int
    """High-value events in the window that a row refers to."""
    labels_dropped: int
    """Labels that lie before the kept end of a long history."""


@dataclass(frozen=True)
class ItemSignalsFigures:
    """What `spark_jobs.item_signals` wrote."""

    half_lives_days: tuple[float, ...]
    """Half-lives of `decayed`, in its order, days: configured, the parent's, or chosen from the log's gaps."""
    bucket_us: int
    """Length of a bucket, microseconds."""
    events: int
    """Events up to the cutoff."""
    items: int
    """Items that have one."""
    rows: int
    rows_after_split: int
    """Rows whose bucket ends after the split."""
    bytes_on_disk: int


@dataclass(frozen=True)
class SuccessorsFigures:
    """What `spark_jobs.successors` wrote."""

    events: int
    """Events up to the cutoff."""
    users: int
    """Users who have one; `rows` = `events` - `users`."""
    rows: int
    rows_after_split: int
    """Rows whose event lies after the split."""
    pairs: int
    """Array entries over all rows: pairs of an event and one before it."""
    bytes_on_disk: int


@dataclass(frozen=True)
class SparkWork:
    """What Spark's tasks did in one stage of a cycle, by Spark's own metrics. What is read, shuffled or written twice
    counts twice; so do rows that are read from Spark's cache."""

    tasks: int
    records_read: int
    """Rows that scans gave, before any filter but those that skip files and row groups."""
    bytes_read: int
    """Bytes of the files read, as compressed as they are. On a cluster, Parquet pages that are read beside the task's own
    thread are missing."""
    records_shuffled: int
    """Rows that were written for a shuffle."""
    bytes_shuffled: int
    records_written: int
    bytes_written: int
    bytes_spilled: int
    """Bytes that did not fit into memory and went to disk."""
    cpu_seconds: float
    """CPU time of the tasks on all executors; planning on the driver is no task's."""
    stages_forgotten: int = 0
    """Spark's stages that Spark no longer kept when the sums were made (`spark.ui.retainedStages`): they are missing."""


JobFigures = (
    EventsFigures
    | ItemsFigures
    | VocabularyFigures
    | ItemFeaturesFigures
    | SequencesFigures
    | EvaluationSequencesFigures
    | ItemSignalsFigures
    | SuccessorsFigures
)


@dataclass(frozen=True)
class JobResult:
    """What a job's `main` returns."""

    versions: dict[str, int]
    """Delta version written, or found unchanged, by table."""
    figures: JobFigures
