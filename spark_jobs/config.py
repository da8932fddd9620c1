"""Configuration of the Spark jobs: the mapping of a source's log, and how tables are built from it.

Does not import Spark, so that the configuration tree and the DAG files can read it. `Job` is the whole
input of one job: beside it a job reads only the tables named in it, at the versions named in it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from pydantic import Field, model_validator

from expectations.bounds import MAX_FAULTY_FRACTION, LossBounds
from expectations.instants import DAY_US, SECOND_US
from expectations.section import Section
from expectations.tables import TOKEN_FIELDS

Format = Literal["jsonl", "csv", "tsv", "parquet", "orc", "avro"]
DELIMITED: dict[str, tuple[str, str]] = {"csv": (",", '"'), "tsv": ("\t", "")}
"""Delimiter and quote of the formats that have them; an empty quote is none."""
TimeUnit = Literal["seconds", "milliseconds", "microseconds", "iso"]
OnConflict = Literal["refuse", "keep_last"]
Repeats = Literal["keep", "refuse"]

LONGEST_HALF_LIFE_DAYS = 36_500
LANGUAGE_WIDTH = 384
"""Width of the packaged sentence encoder's vectors."""


class FileMapping(Section):
    """Landed files of one layout, or a table. Every `str` of a subclass is a Spark SQL expression over the columns of
    these files; the simplest is a column's name."""

    files: tuple[str, ...] = ()
    """Glob patterns, absolute or relative to the source's landing folder; `**` is folders at any depth, and a
    matched folder stands for the files in it."""
    table: str | None = None
    """Instead of files: the folder of a Delta table, with a slash in it and relative as files are, or the name of a table
    in one of Spark's catalogs (`catalog.schema.name`)."""
    format: Format | None = None
    """Of the files. `csv` and `tsv` have a header line; `jsonl` is one JSON object a line, or an array of objects. Text files may be
    packed, and in UTF-16."""
    delimiter: str | None = Field(default=None, min_length=1)
    """Between the fields of `csv` and `tsv`. None: a comma, a tab. Several characters need `quote = ""`."""
    quote: str | None = Field(default=None, max_length=1)
    """Around fields of `csv` and `tsv` that hold a delimiter, a quote or a line break; empty: there is none. None: `"` for
    `csv`, none for `tsv`."""
    escape: str | None = Field(default=None, min_length=1, max_length=1)
    """Before a quote, delimiter or line break that is text. None: quotes inside quotes are doubled."""
    where: str | None = None
    """SQL predicate; lines for which it is not true are excluded and recorded as excluded."""

    @model_validator(mode="after")
    def _can_be_read(self) -> FileMapping:
        if bool(self.files) == (self.table is not None):
            raise ValueError("either files or table must say where the lines are, and not both")
        if self.table is not None:
            given = [
                name for name in ("format", "delimiter", "quote", "escape") if getattr(self, name) is not None
            ]
            if given:
                raise ValueError(f"{given[0]} is for files; a table knows its own")
            if not self.table.strip():
                raise ValueError("table is empty; give the folder of a Delta table or a name in a catalog")
            return self
        if self.format is None:
            raise ValueError(f"format is missing; files need one of {', '.join(get_args(Format))}")
        if not all(pattern.strip() for pattern in self.files):
            raise ValueError("files has an empty pattern; give the name of a file, or * for all of a folder")
        given = [name for name in ("delimiter", "quote", "escape") if getattr(self, name) is not None]
        if given and self.format not in DELIMITED:
            raise ValueError(f"{given[0]} is for csv and tsv, given format = {self.format!r}")
        if self.format not in DELIMITED:
            return self
        delimiter, quote = DELIMITED[self.format]
        delimiter = self.delimiter or delimiter
        quote = quote if self.quote is None else self.quote
        if len(delimiter) > 1 and (quote or self.escape):
            raise ValueError(
                f'delimiter {delimiter!r} has several characters, which needs quote = "" and no escape'
            )
        signs = [sign for sign in (delimiter, quote, self.escape) if sign]
        if len(set(signs)) < len(signs) or any(set(sign) & set("\r\n") for sign in signs):
            raise ValueError(f"delimiter, quote and escape must differ and be no line ends, given {signs}")
        return self


class EventMapping(FileMapping):
    """How lines of the log become events."""

    user: str
    """Identifies the user."""
    item: str
    """Identifies the item."""
    time: str
    """When the event happened."""
    time_unit: TimeUnit = "seconds"
    """Unit of `time`, since 1970-01-01 UTC; `iso` takes ISO-8601 text, dates or Parquet timestamps (UTC where
    they name no zone)."""
    event_id: str | None = None
    """None: derived from source, user, item, time, action and occurrence within the file."""
    action: str | None = None
    """One of the source's `actions`. None: every event has the source's only action."""
    watch_seconds: str | None = None
    """Time spent on the item, seconds."""
    completion_fraction: str | None = None
    """Fraction of the item watched, read or heard; above 1 for repeats."""
    rating: str | None = None
    """A number on the source's own scale."""
    page: str | None = None
    """Context: page or surface of the event."""
    position: str | None = None
    """Context: position on the page, a whole number from 0."""
    country: str | None = None
    """Context: country of the event."""
    device: str | None = None
    """Context: device of the event."""


class ItemMapping(FileMapping):
    """How lines of the catalogue become items."""

    item: str
    """Identifies the item."""
    title: str | None = None
    """Text, for reports and the sentence encoder."""
    description: str | None = None
    """Text, for the sentence encoder."""
    launched_at: str | None = None
    """When the item became available; before this instant it is not an eligible item."""
    launched_at_unit: TimeUnit = "iso"
    """Unit of `launched_at`."""
    retired: str | None = None
    """Whether the item is withdrawn, a boolean as of the landing: it keeps its token and is no longer scored.
    Where it is null or not mapped, an item stays as it was."""


class TagMapping(FileMapping):
    """How lines become annotation tags."""

    item: str
    """Identifies the item."""
    tag: str
    """A string, or an array of strings."""
    tagged_at: str | None = None
    """When the tag was given; a cycle reads tags up to its split. None: always known."""
    tagged_at_unit: TimeUnit = "iso"
    """Unit of `tagged_at`."""


class EdgeMapping(FileMapping):
    """How lines become knowledge-graph edges."""

    item: str
    """Identifies the item."""
    relation: str
    """A constant relation is a quoted literal, `"'genre'"`."""
    entity: str
    """A string, or an array of strings."""


class SourceConfig(Section):
    """A source: where its log is and what its columns mean."""

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
    """SQL predicate over columns of `events`: marks the high-value events."""
    reward: str = "1.0"
    """SQL expression over columns of `events`: the reward weight r of a high-value event, above 0."""
    missing: tuple[str, ...] = (
        "nan", "none", "null", "\\N", "<na>", "-", "n/a", "#n/a", "(null)", "undefined",
    )  # fmt: skip
    """Texts that stand for a missing value where an id is expected, in upper or lower case; a line with one is
    refused. Blank text always is."""
    on_conflict: OnConflict = "refuse"
    """What becomes of a line with the event_id of another event and other content: it is refused, or it
    replaces that event (for heartbeats and corrections)."""
    repeats: Repeats = "keep"
    """Whether a line that repeats another line of its file exactly is an event of its own, where the ids of
    events are derived. Where the source gives ids, a repeat is a duplicate."""
    earliest: datetime | None = None
    """Events before this instant are rejected as impossible. None: 1990-01-01."""
    latest: datetime | None = None
    """Events after this instant are rejected as impossible. None: 2100-01-01."""

    @model_validator(mode="after")
    def _actions_are_distinct(self) -> SourceConfig:
        if len(set(self.actions)) != len(self.actions) or not 1 <= len(self.actions) <= 127:
            raise ValueError(f"actions must be 1 to 127 distinct names, given {self.actions}")
        if self.events.action is None and len(self.actions) != 1:
            raise ValueError(
                f"events.action is missing; a source with several actions ({', '.join(self.actions)}) needs it"
            )
        return self

    @property
    def context_fields(self) -> tuple[str, ...]:
        """Columns that become codes of a token: the context, and how an event went, as far as the log has them."""
        return tuple(name for name in TOKEN_FIELDS if getattr(self.events, name) is not None)


class VocabularyConfig(Section):
    """Which items get a token of their own, and how often an ID is masked in training."""

    min_events: int = Field(5, ge=1)
    """Fewest events up to the split with which an item enters the vocabulary."""
    cold_start_floor: float = Field(0.02, ge=0.0, le=1.0)
    """Least masking rate of the collaborative embedding, a fraction."""
    cold_start_ceiling: float = Field(0.5, ge=0.0, le=1.0)
    """Largest masking rate, a fraction."""


class FeaturesConfig(Section):
    """How item features are computed."""

    language_encoder: Literal["all-minilm-l6-v2", "none"] = "all-minilm-l6-v2"
    """The packaged sentence encoder (384 wide), or none."""
    graph_width: int = Field(64, ge=8, le=1024)
    """Width of the knowledge-graph vector."""
    graph_rounds: int = Field(2, ge=1, le=4)
    """Rounds of message passing item → entity → item."""
    annotation_width: int = Field(64, ge=8, le=1024)
    """Width of the annotation vector."""

    @property
    def widths(self) -> dict[str, int]:
        """Width of each vector column of `item_features`; 0: the column is empty."""
        return {
            "language": 0 if self.language_encoder == "none" else LANGUAGE_WIDTH,
            "graph": self.graph_width,
            "annotation": self.annotation_width,
        }


class SequencesConfig(Section):
    """How histories are cut into rows of `sequences`."""

    max_length: int = Field(256, ge=8, le=8192)
    """Events in one `sequences` row, context included."""
    context_length: int = Field(128, ge=0)
    """Events of context that a chunk after the first repeats before its loss positions."""
    max_targets: int = Field(16, ge=1, le=128)
    """K_max: targets kept in the look-ahead tail of a row."""
    max_evaluation_history: int = Field(2000, ge=16)
    """Events up to the cutoff that are kept for a user of the evaluation window."""
    context_buckets: int = Field(512, ge=2, le=32000)
    """Codes of a hashed context field, 0 being missing."""

    @model_validator(mode="after")
    def _context_leaves_room(self) -> SequencesConfig:
        if self.context_length >= self.max_length:
            raise ValueError(
                f"context_length must be below max_length, given {self.context_length} and {self.max_length}"
            )
        return self


AUTOMATIC_HALF_LIVES = 5
"""Half-lives that are chosen where none are configured."""


class SignalsConfig(Section):
    """What is counted of items and of what follows what, as of any instant."""

    half_lives_days: tuple[float, ...] | None = Field(None, min_length=1, max_length=8)
    """Half-lives of an item's decayed counts, days, ascending. None: those of the version that the cycle
    continues; the first cycle chooses them from the gaps between an item's events."""
    bucket_minutes: float = Field(10.0, gt=0, le=1440)
    """Δ, length of a bucket of time, minutes; a whole number of buckets make a day. Signals are as of the end
    of a bucket."""
    reach: int = Field(10, ge=1, le=50)
    """How many earlier events of its user an event succeeds."""

    @model_validator(mode="after")
    def _is_possible(self) -> SignalsConfig:
        days = self.half_lives_days or ()
        if any(not 0 < value <= LONGEST_HALF_LIFE_DAYS for value in days):
            raise ValueError(
                f"half_lives_days must be above 0 and at most {LONGEST_HALF_LIFE_DAYS:,}, given {days}"
            )
        if list(days) != sorted(set(days)):
            raise ValueError(f"half_lives_days must be distinct and ascending, given {days}")
        length = self.bucket_minutes * 60 * SECOND_US
        if length < 1 or length % 1 or DAY_US % length:
            raise ValueError(
                f"bucket_minutes is {self.bucket_minutes!r}, but a whole number of buckets must make a day; "
                "allowed are for instance 10, 30 and 360"
            )
        return self

    @property
    def half_lives(self) -> int:
        """Number of half-lives."""
        return len(self.half_lives_days or AUTOMATIC_HALF_LIVES * (0,))

    @property
    def bucket_us(self) -> int:
        """Δ in microseconds."""
        return int(self.bucket_minutes * 60 * SECOND_US)


class Continued(Section):
    """The rows of `sequences` that the parent cycle wrote, which a job may take over instead of making them again.

    They are given only where they were made by the same rules and the same configuration. The version of the table is
    among those to read.
    """

    events_version: int
    """Delta version of `events` that they were made from."""
    events: int
    """Its events up to that cycle's split, as many as the rows have loss positions."""


class Job(Section):
    """The whole input of one Spark job."""

    lake: str
    """Root of the lake; tables are at `expectations.tables.location(lake, source.name, table)`."""
    landing: str
    """Folder that relative file patterns are resolved against."""
    cycle: str
    """Name of the cycle, the value of the `cycle` partition."""
    cutoff: datetime
    """End of the evaluation window."""
    split: datetime
    """Start of the evaluation window: the cutoff less W."""
    window_seconds: int
    """W."""
    parent_cycle: str | None = None
    """Cycle whose vocabulary is continued; None on a cold start."""
    parent_split: datetime | None = None
    """Split of that cycle."""
    parent_half_lives_days: tuple[float, ...] | None = None
    """Half-lives of that cycle's `item_signals`, days; None on a cold start, or where that cycle has none."""
    continued: Continued | None = None
    """What of that cycle's `sequences` may be taken over; None: all rows are made from the events."""
    versions: dict[str, int] = Field(default_factory=dict)
    """Delta version to read, by table; a table that is absent here has no version yet."""
    passed_ingestion: int | None = None
    """Newest version of `ingested_files` that a cycle has passed; None: none has."""
    kept_out: tuple[str, ...] = ()
    """Names and file_ids of withdrawn files, which are not ingested."""
    erased: tuple[str, ...] = ()
    """Digests of erased users (`landing.erased.user_digest`), whose lines become no event."""
    source: SourceConfig
    vocabulary: VocabularyConfig = VocabularyConfig()
    features: FeaturesConfig = FeaturesConfig()
    sequences: SequencesConfig = SequencesConfig()
    signals: SignalsConfig = SignalsConfig()
    losses: LossBounds = LossBounds()
    """By which a column of the new files is said to hold values of another kind; the suite judges by the same."""
    max_faulty_fraction: float = MAX_FAULTY_FRACTION
    digests: str | None = None
    """File that keeps the digests of landed files; None: each is read by every job."""
