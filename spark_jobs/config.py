"""What the Spark jobs are told: the mapping of a source's log, and how tables are built from it.

Typed, frozen, validated; no Spark is imported here, so that the configuration tree and the DAG
files can read it. `Job` is the whole input of one job: a job reads nothing else but the tables
named in it, at the versions named in it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from expectations.section import Section

Format = Literal["jsonl", "csv", "tsv", "parquet"]
TimeUnit = Literal["seconds", "milliseconds", "microseconds", "iso"]


class FileMapping(Section):
    """Landed files of one layout. Every other `str` of a subclass is a Spark SQL expression over
    the columns of these files (a bare column name is the simplest one)."""

    files: tuple[str, ...] = Field(min_length=1)
    """Glob patterns, absolute or relative to the source's landing folder."""
    format: Format
    """`csv` and `tsv` have a header line; `jsonl` is one JSON object a line, gzip allowed."""
    where: str | None = None
    """SQL predicate; a line for which it is not true is excluded and recorded as such."""


class EventMapping(FileMapping):
    """How lines of the log become events."""

    user: str
    item: str
    time: str
    time_unit: TimeUnit = "seconds"
    """Unit of `time`; `iso` takes ISO-8601 text, dates or Parquet timestamps (naive ones are UTC)."""
    event_id: str | None = None
    """None: derived from source, user, item, time, action and occurrence within the file."""
    action: str | None = None
    """None: every event has the source's only action."""
    watch_seconds: str | None = None
    completion_fraction: str | None = None
    rating: str | None = None
    page: str | None = None
    position: str | None = None
    country: str | None = None
    device: str | None = None


class ItemMapping(FileMapping):
    """How lines of the catalogue become items."""

    item: str
    title: str | None = None
    description: str | None = None
    launched_at: str | None = None
    launched_at_unit: TimeUnit = "iso"


class TagMapping(FileMapping):
    """How lines become annotation tags; `tag` may yield one string or an array of them."""

    item: str
    tag: str
    tagged_at: str | None = None
    tagged_at_unit: TimeUnit = "iso"


class EdgeMapping(FileMapping):
    """How lines become knowledge-graph edges; `entity` may yield one string or an array of them."""

    item: str
    relation: str
    """SQL expression; a constant relation is a quoted literal, `"'genre'"`."""
    entity: str


class SourceConfig(Section):
    """A source: where its log lies and what its columns mean."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    """Names the lake folder and the registered model."""
    title: str = ""
    """One line for people."""
    landing: str | None = None
    """Folder that relative file patterns start from. None: the TOML file's own folder, or for a
    packaged source its folder under `REPRISE_HOME/landing`."""
    events: EventMapping
    items: tuple[ItemMapping, ...] = ()
    tags: tuple[TagMapping, ...] = ()
    edges: tuple[EdgeMapping, ...] = ()
    actions: tuple[str, ...] = ("interaction",)
    """Every action of the source, in an order that must never change (append only, at most 127)."""
    high_value: str = "true"
    """SQL predicate over columns of `events`: which events are labels."""
    reward: str = "1.0"
    """SQL expression over columns of `events`: the reward weight r of a high-value event, above 0."""
    earliest: datetime | None = None
    """Events before this instant are refused as impossible. None: 1990-01-01."""
    latest: datetime | None = None
    """Events after this instant are refused as impossible. None: 2100-01-01."""

    @model_validator(mode="after")
    def _actions_are_distinct(self) -> SourceConfig:
        if len(set(self.actions)) != len(self.actions) or not 1 <= len(self.actions) <= 127:
            raise ValueError(f"actions must be 1 to 127 distinct names, given {self.actions}")
        if self.events.action is None and len(self.actions) != 1:
            raise ValueError("events.action is needed where the source has more than one action")
        return self


class VocabularyConfig(Section):
    min_events: int = Field(5, ge=1)
    """An item enters the vocabulary with this many events up to the split."""
    cold_start_floor: float = Field(0.02, ge=0.0, le=1.0)
    """Lower bound of the masking rate, a fraction."""
    cold_start_ceiling: float = Field(0.5, ge=0.0, le=1.0)
    """Upper bound of the masking rate, a fraction."""


class FeaturesConfig(Section):
    language_encoder: Literal["all-minilm-l6-v2", "none"] = "all-minilm-l6-v2"
    """The packaged sentence encoder (384 wide), or none."""
    graph_width: int = Field(64, ge=8, le=1024)
    """Width of the knowledge-graph vector."""
    graph_rounds: int = Field(2, ge=1, le=4)
    """Rounds of message passing item → entity → item."""
    annotation_width: int = Field(64, ge=8, le=1024)
    """Width of the annotation vector."""


class SequencesConfig(Section):
    max_length: int = Field(256, ge=8, le=8192)
    """Events in one `sequences` row, context included."""
    context_length: int = Field(128, ge=0)
    """Events of context that a chunk after the first repeats before its loss positions."""
    max_targets: int = Field(16, ge=1, le=128)
    """K_max: high-value events kept in the look-ahead tail of a row."""
    max_evaluation_history: int = Field(2000, ge=16)
    """Events of history up to the cutoff kept for a user of the evaluation window."""
    context_buckets: int = Field(512, ge=2, le=32000)
    """Codes of a hashed context field, 0 being missing."""

    @model_validator(mode="after")
    def _context_leaves_room(self) -> SequencesConfig:
        if self.context_length >= self.max_length:
            raise ValueError(
                f"context_length must be below max_length, given {self.context_length} and {self.max_length}"
            )
        return self


class Job(Section):
    """The whole input of one Spark job."""

    lake: str
    """Root of the lake; tables lie at `expectations.tables.location(lake, source.name, table)`."""
    landing: str
    """Folder that relative file patterns are resolved against."""
    cycle: str
    """Name of the cycle, the value of the `cycle` partition."""
    cutoff: datetime
    split: datetime
    window_seconds: int
    """W; the split is the cutoff less W."""
    parent_cycle: str | None = None
    """Cycle whose vocabulary is continued; None on a cold start."""
    parent_split: datetime | None = None
    versions: dict[str, int] = Field(default_factory=dict)
    """Delta version to read, by table; a table that is absent here has no version yet."""
    source: SourceConfig
    vocabulary: VocabularyConfig = VocabularyConfig()
    features: FeaturesConfig = FeaturesConfig()
    sequences: SequencesConfig = SequencesConfig()
