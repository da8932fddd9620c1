"""The configuration of a source: one typed, frozen, validated tree, and its digest.

`pipeline.presets.load` makes it from a packaged source or a TOML file. An unknown key or a bad value is
refused with what was given and what is allowed. Values that follow from other sections are no keys:
`Config.network` derives them.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from expectations.bounds import MAX_FAULTY_FRACTION, LossBounds
from expectations.section import Section
from model.config import (
    FRESHNESS_WIDTH,
    EvaluationConfig,
    ModelConfig,
    ModelSection,
    ObjectiveConfig,
    TrainingConfig,
)
from model.sizes import SIZES
from spark_jobs.config import (
    FeaturesConfig,
    SequencesConfig,
    SignalsConfig,
    SourceConfig,
    VocabularyConfig,
)
from spark_jobs.settings import SparkSettings

MINUTE = timedelta(minutes=1)
LONGEST_DAYS = 36_500
MAX_RUNGS = 8

DERIVED = {
    "model.actions": "it is the number of source.actions",
    "model.context_fields": "they are the context fields that source.events maps",
    "model.context_buckets": "it is sequences.context_buckets",
    "model.max_length": "it is sequences.max_length",
    "model.half_lives": "it is the number of signals.half_lives_days, where model.item_signals is set",
    "model.output_width": f"it is model.semantic_output_width, plus {FRESHNESS_WIDTH} with model.freshness",
}
"""What a person might take for a key, and where its value comes from."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says what was given and what is allowed."""


class ScheduleConfig(Section):
    """When cycles are due. Without `cron` and `start_date` none is: cycles are started by hand."""

    window_days: float = Field(28.0, gt=0, le=LONGEST_DAYS)
    """W, days of the evaluation window; also the interval between cycles unless `interval_days` is given."""
    interval_days: float | None = Field(None, gt=0, le=LONGEST_DAYS)
    """Days between two cycles, a whole number of minutes. None: `window_days`."""
    cron: str | None = None
    """Due times as a cron expression of five fields in UTC, instead of `start_date` and `interval_days`."""
    start_date: date | None = None
    """First cutoff of a schedule or backfill."""
    end_date: date | None = None
    """Last cutoff of the schedule. For a log that has ended, so that unpausing its DAG starts nothing."""
    from_scratch_every: int = Field(0, ge=0)
    """Every n-th cycle trains from scratch, to compare with the fine-tuned chain; 0: never."""
    demo_cutoffs: tuple[date, ...] = ()
    """Cutoffs of the cycles that `make demo` and the benchmarks use."""

    @model_validator(mode="after")
    def _is_possible(self) -> ScheduleConfig:
        if self.cron is not None:
            _check_cron(self.cron)
            if self.end_date is not None:
                raise ValueError(
                    f"cron ({self.cron!r}) and end_date ({self.end_date}) cannot be combined; drop one of them"
                )
        if self.start_date and self.end_date and self.start_date > self.end_date:
            raise ValueError(f"start_date {self.start_date} is after end_date {self.end_date}")
        step = timedelta(days=self.interval)
        if step < MINUTE or step % MINUTE:
            key = "window_days" if self.interval_days is None else "interval_days"
            raise ValueError(
                f"{key} is {self.interval!r}, but cutoffs are whole minutes; allowed are multiples of 1/1440 day"
            )
        return self

    @property
    def interval(self) -> float:
        """Days between cycles."""
        return self.interval_days or self.window_days


def _check_cron(cron: str) -> None:
    """Raises ValueError for an expression that Airflow could not schedule by, or that is never due."""
    from croniter import CroniterError, croniter  # Airflow's own parser; takes 0.1 s to import

    # The one alias of Airflow's that its parser does not know.
    expression = "0 0 1 */3 *" if cron == "@quarterly" else cron
    try:
        croniter(expression).get_next()
        problem = "" if cron.startswith("@") or len(cron.split()) == 5 else "it has not five fields"
    except CroniterError as error:
        problem = str(error)
    if problem:
        raise ValueError(
            f"cron {cron!r} cannot be used: {problem}; allowed are five fields (minute, hour, day, month, "
            "weekday) in UTC, for instance '0 6 * * 1' for Mondays at 06:00, or @daily"
        )


class FunnelConfig(Section):
    """The gates: small models before the full one, and what counts as a loss of quality."""

    rungs: tuple[str, ...] = Field(("25k", "100k"), min_length=1, max_length=MAX_RUNGS)
    """Backbone sizes of the small models that must pass first, ascending, none above `model.size`."""
    rung_cost_fraction: float = Field(0.25, gt=0, le=MAX_RUNGS)
    """Positions that all rungs together train on, as a fraction of the full model's; each makes an equal share
    of its passes, below one pass over a sample of the packed rows."""
    rung_min_steps: int = Field(300, ge=1)
    """Fewest steps of a rung, whatever its share, but never more than the full model's passes come to."""
    strictness: Literal["strict", "lenient"] = "strict"
    """Whether an inconclusive check refuses (strict) or passes (lenient)."""
    task_margin: float = Field(-0.02, le=0)
    """Relative difference of a task's MRR down to which the candidate is non-inferior."""
    slice_margin: float = Field(-0.05, le=0)
    """The same for a slice."""
    compare_back: int = Field(4, ge=0)
    """Promotions between the champion and an earlier one that the candidate is compared with too, by
    `task_margin`, so that losses too small to detect do not add up; 0: it is not."""
    min_users: int = Field(200, ge=1)
    """A slice with fewer users is reported, not judged."""
    max_latency_milliseconds: float = Field(200.0, gt=0)
    """Budget for scoring one history against the whole catalogue on the CPU, where it is served."""
    max_size_megabytes: float = Field(8192.0, gt=0)
    """Budget for what is served: weights, item features, items and their names."""

    @model_validator(mode="after")
    def _rungs_ascend(self) -> FunnelConfig:
        for rung in self.rungs:
            if rung not in SIZES:
                raise ValueError(f"rungs names {rung!r}; allowed are {', '.join(SIZES)}")
        order = [list(SIZES).index(rung) for rung in self.rungs]
        if order != sorted(set(order)):
            raise ValueError(
                f"rungs must be distinct and ascending in size, given {', '.join(self.rungs)}; "
                f"the order is {', '.join(SIZES)}"
            )
        return self


class ExpectationsConfig(Section):
    """How far a window may drift, and how many lines may be faulty, before validation fails."""

    drift_cycles: int = Field(4, ge=1)
    """Earlier cycles that a window is compared with."""
    min_volume_ratio: float = Field(0.25, ge=0.0, le=1.0)
    """Least events a day in the window, as a ratio to the median of the earlier cycles."""
    max_volume_ratio: float = Field(4.0, ge=1.0)
    """Most events a day in the window, as a ratio to the median of the earlier cycles."""
    max_action_mix_distance: float = Field(0.3, ge=0.0, le=1.0)
    """Largest total variation distance between the window's action shares and the earlier cycles'."""
    max_faulty_fraction: float = Field(MAX_FAULTY_FRACTION, ge=0.0, le=1.0)
    """Largest fraction of a cycle's new lines that may be faulty, and of the lines of each new file; lines
    excluded by `where` and repeated or replaced events do not count as faulty."""
    max_conflict_fraction: float = Field(0.05, ge=0.0, le=1.0)
    """Largest fraction of a cycle's new lines that may have the event_id of an event with other content; where
    `source.on_conflict` keeps the last line, of an event of another user or item."""
    max_faulty_catalogue_fraction: float = Field(0.05, ge=0.0, le=1.0)
    """Largest fraction of the lines of item files that may be faulty, and of tag and edge files; superseded
    lines and lines excluded by `where` do not count as faulty."""
    max_lost_catalogue_fraction: float = Field(0.2, ge=0.0, le=1.0)
    """Largest fraction of the items that had a title, a description, a launch, tags or edges when the version that this
    cycle continues was made, and have it no more."""
    min_window_events: int = Field(1, ge=0)
    """Fewest events of the evaluation window."""
    losses: LossBounds = LossBounds()
    """What a landed file or a day may lose beside those before it."""


class RegistryConfig(Section):
    """What happens to an accepted version."""

    promotion: Literal["automatic", "manual"] = "automatic"
    """Whether an accepted version becomes champion without a person."""


class MaintenanceConfig(Section):
    """What `maintain` tidies, and when. It changes no result of a cycle."""

    cron: str | None = None
    """When the DAG `table_maintenance` runs, a cron expression of five fields in UTC. None: there is no such DAG."""
    keep_cycles: int = Field(4, ge=1)
    """Newest cycles whose table versions, reports and checkpoints stay whatever became of them, beside those of
    registered versions and of cycles that have not finished."""
    vacuum_hours: float = Field(168.0, ge=0)
    """A file that no kept version refers to is deleted once it is this old."""
    small_files: int = Field(16, ge=2)
    """A table is compacted when so many of its files are smaller than a quarter of `file_megabytes`."""
    file_megabytes: int = Field(128, ge=1)
    """Size up to which small files are written together."""
    rejected_days: float | None = Field(None, gt=0)
    """Refused lines of files ingested by a cycle this many days before the newest keep their reason and lose their text.
    None: never."""
    report_days: float | None = Field(None, gt=0)
    """Reports of a cycle this many days before the newest are deleted, unless it is kept. None: never."""
    checkpoint_days: float | None = Field(None, gt=0)
    """The same for checkpoints."""

    @model_validator(mode="after")
    def _can_be_due(self) -> MaintenanceConfig:
        if self.cron is not None:
            _check_cron(self.cron)
        return self


class Config(Section):
    """Everything that a cycle is a function of, beside its cutoff, table versions and parent."""

    preset: str
    """Named run that the other sections started from."""
    source: SourceConfig
    schedule: ScheduleConfig = ScheduleConfig()
    vocabulary: VocabularyConfig = VocabularyConfig()
    features: FeaturesConfig = FeaturesConfig()
    sequences: SequencesConfig = SequencesConfig()
    signals: SignalsConfig = SignalsConfig()
    model: ModelSection = ModelSection()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    funnel: FunnelConfig = FunnelConfig()
    registry: RegistryConfig = RegistryConfig()
    expectations: ExpectationsConfig = ExpectationsConfig()
    maintenance: MaintenanceConfig = MaintenanceConfig()
    spark: SparkSettings = Field(default_factory=dict)
    """Further settings of Spark by their names: executors, packages, event log. They change no result."""
    # Private, so that it is not part of the digest: where a file is changes no result.
    _words: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        if self.objective.label_window > self.sequences.max_targets:
            raise ValueError(
                f"objective.label_window is {self.objective.label_window}, but sequences.max_targets keeps only "
                f"{self.sequences.max_targets} targets past a row's end"
            )
        largest = self.funnel.rungs[-1]
        if SIZES[largest].parameters > self.model.backbone.parameters:
            raise ValueError(
                f"funnel.rungs has {largest}, which is larger than the full model (model.size is {self.model.size})"
            )
        absent = [name for name in self.model.modalities if not self.features.widths[name]]
        if absent:
            raise ValueError(
                f"model.modalities has {', '.join(absent)}, which features.language_encoder "
                f"= {self.features.language_encoder!r} does not make"
            )
        return self

    def network(self, size: str | None = None, half_lives: int | None = None) -> ModelConfig:
        """What the network is built from: `[model]`, and what follows from source, features and sequences.

        `size` is that of a rung; None is the full model's. `half_lives` is the number that a cycle's
        `item_signals` has, None the configured one; a model without item signals has 0 either way.
        """
        model = self.model
        half_lives = self.signals.half_lives if half_lives is None else half_lives
        return ModelConfig(
            size=size or model.size,
            item_width=model.item_width,
            dropout=model.dropout,
            freshness=model.freshness,
            pair_signals=model.pair_signals,
            request_time=model.request_time,
            half_lives=half_lives if model.item_signals else 0,
            output_width=model.output_width,
            modalities=tuple((name, self.features.widths[name]) for name in model.modalities),
            actions=len(self.source.actions),
            context_fields=self.source.context_fields,
            context_buckets=self.sequences.context_buckets,
            max_length=self.sequences.max_length,
        )

    @property
    def words(self) -> str:
        """The words of a command that loads this configuration again, quoted for a shell."""
        return self._words or f"--source {self.source.name}"

    def loaded_by(self, words: str) -> Config:
        """The same configuration, which remembers its `words`."""
        copy = self.model_copy()
        copy._words = words
        return copy

    @property
    def digest(self) -> str:
        """SHA-256 of all that results depend on, the first 16 hexadecimal digits."""
        return self.digest_of(*sorted({*type(self).model_fields} - {"spark"}))

    def digest_of(self, *sections: str) -> str:
        """Digest of some sections, so that a stage runs again only when what it reads changed. The section
        `model` counts as the network that follows from it."""
        content = self.model_dump(mode="json", include=set(sections))
        if "model" in content:
            content["model"] = self.network().model_dump(mode="json")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def parse(content: dict[str, Any], origin: str) -> Config:
    """A `Config` from plain values. Raises ConfigError, one line that names every refused key."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        problems = [_problem(**problem) for problem in error.errors(include_url=False, include_context=False)]
        count = f"{len(problems)} problems: " if len(problems) > 1 else ""
        raise ConfigError(f"{origin} cannot be used: {count}{'; '.join(problems)}") from None


def parse_stored(content: dict[str, Any], origin: str) -> Config:
    """A `Config` from the plain values in a cycle's record. Raises ConfigError as `parse`.

    Records of the first versions held the derived values in `[model]`, and modalities with widths; later
    ones the passes of each rung instead of the cost of all. A record that names no signals is of a model
    without.
    """
    funnel = dict(content.get("funnel", {}))
    if "rung_epochs_fraction" in funnel:
        funnel["rung_cost_fraction"] = funnel.pop("rung_epochs_fraction") * len(funnel["rungs"])
        funnel["rung_min_steps"] = 1
        content = content | {"funnel": funnel}
    model = content.get("model", {})
    if "output_width" in model:
        kept = {key: value for key, value in model.items() if f"model.{key}" not in DERIVED}
        kept["modalities"] = [name for name, _ in model["modalities"]]
        kept["semantic_output_width"] = ModelConfig.model_validate(model).semantic_output_width
        content = content | {"model": kept}
    if "item_signals" not in model:
        without = dict.fromkeys(("item_signals", "pair_signals", "request_time"), False)
        content = content | {"model": without | content.get("model", {})}
    return parse(content, origin)


def _problem(type: str, loc: tuple[str | int, ...], msg: str, input: Any) -> str:
    """One refused key or section, from pydantic's words for it."""
    place = ".".join(str(part) for part in loc)
    if type == "extra_forbidden" and place in DERIVED:
        return f"{place} cannot be set, {DERIVED[place]}"
    if type == "extra_forbidden":
        return f"{place} is unknown, allowed are {', '.join(_section(loc[:-1]).model_fields)}"
    if type == "value_error":  # a validator of ours, which says itself what was given
        return f"{place}: {msg}".replace("Value error, ", "").removeprefix(": ")
    return f"{place or 'configuration'}: {msg}, given {input!r:.120}"


def _section(place: tuple[str | int, ...]) -> type[BaseModel]:
    """The section at a place of the tree; a number is a place in a list of sections."""
    section: type[BaseModel] = Config
    for part in place:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            types = (annotation, *get_args(annotation))
            section = next(kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel))
    return section


def overlay(base: Config, changes: dict[str, Any], origin: str) -> Config:
    """`base` with the keys of `changes` replaced, section by section. Raises ConfigError as `parse`."""
    return parse(merge(base.model_dump(mode="json"), changes), origin)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; pass the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` overlaid with `changes`: tables are merged, every other value is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_tables else value
    return merged
