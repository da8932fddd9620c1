"""One typed, frozen, validated tree of configuration, and its digest.

A named run is a function in `pipeline.presets` that returns a whole `Config`; a TOML file may
overlay it section by section. Unknown keys and bad values are refused with what was given and
what is allowed.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from expectations.section import Section
from model.config import EvaluationConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from model.sizes import SIZES
from spark_jobs.config import FeaturesConfig, SequencesConfig, SourceConfig, VocabularyConfig


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says what was given and what is allowed."""


class ScheduleConfig(Section):
    """When cycles happen."""

    window_days: float = Field(28.0, gt=0)
    """W, the evaluation window, and the interval between cycles unless `interval_days` is given."""
    interval_days: float | None = Field(None, gt=0)
    cron: str | None = None
    """Airflow schedule; None: manual triggers and backfills only."""
    start_date: date | None = None
    """First cutoff that a schedule or backfill may have."""
    end_date: date | None = None
    """Last one; a log that has ended names it, so that unpausing starts nothing."""
    from_scratch_every: int = Field(0, ge=0)
    """Every n-th cycle trains from scratch, to compare with the fine-tuned chain; 0: never."""
    demo_cutoffs: tuple[date, ...] = ()
    """Cutoffs of the cycles that `make demo` and the reports use."""

    @property
    def interval(self) -> float:
        """Days between cycles."""
        return self.interval_days or self.window_days


class FunnelConfig(Section):
    rungs: tuple[str, ...] = ("25k", "100k")
    """Backbone presets of the small rungs, in order."""
    rung_epochs_fraction: float = Field(1.0, gt=0, le=1)
    """Passes over the data that a rung makes, as a share of the full model's: a gate is to be cheap."""
    strictness: Literal["strict", "lenient"] = "strict"
    """Whether an inconclusive check refuses (strict) or passes (lenient)."""
    task_margin: float = Field(-0.02, le=0)
    """Relative difference of a task that is still non-inferior."""
    slice_margin: float = Field(-0.05, le=0)
    min_users: int = Field(200, ge=1)
    """A slice with fewer users is reported, not judged."""
    max_latency_milliseconds: float = Field(200.0, gt=0)
    """Budget for scoring one history against the whole catalogue."""
    max_size_megabytes: float = Field(8192.0, gt=0)
    """Budget for the registered weights."""


class ExpectationsConfig(Section):
    """What drift and refusal of data is still normal for a source."""

    drift_cycles: int = Field(4, ge=1)
    """Earlier cycles that a window is compared with."""
    min_volume_ratio: float = Field(0.25, ge=0.0, le=1.0)
    """Events a day in the window, over the median of the earlier cycles."""
    max_volume_ratio: float = Field(4.0, ge=1.0)
    max_action_mix_distance: float = Field(0.3, ge=0.0, le=1.0)
    """Total variation distance of the action shares from the earlier cycles'."""
    max_faulty_fraction: float = Field(0.5, ge=0.0, le=1.0)
    """Share of a cycle's new lines that may be faulty; lines left out by `where` and repeated events
    are not counted as faulty."""
    min_window_events: int = Field(1, ge=0)
    """Events that the evaluation window must hold."""


class RegistryConfig(Section):
    promotion: Literal["automatic", "manual"] = "automatic"
    """Whether an accepted version becomes champion by itself."""


class Config(Section):
    """Everything that a cycle is a function of, beside its cutoff, table versions and parent."""

    preset: str
    """Name of the run this configuration started from."""
    source: SourceConfig
    schedule: ScheduleConfig = ScheduleConfig()
    vocabulary: VocabularyConfig = VocabularyConfig()
    features: FeaturesConfig = FeaturesConfig()
    sequences: SequencesConfig = SequencesConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    funnel: FunnelConfig = FunnelConfig()
    registry: RegistryConfig = RegistryConfig()
    expectations: ExpectationsConfig = ExpectationsConfig()
    # Private, so that it is no part of the digest: where a file lies changes no result.
    _words: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        if self.model.actions != len(self.source.actions):
            raise ValueError(
                f"model.actions is {self.model.actions} but the source has {len(self.source.actions)} actions"
            )
        if self.model.context_buckets != self.sequences.context_buckets:
            raise ValueError("model.context_buckets and sequences.context_buckets must be equal")
        if self.objective.label_window > self.sequences.max_targets:
            raise ValueError(
                f"objective.label_window is {self.objective.label_window}, but sequences.max_targets keeps only "
                f"{self.sequences.max_targets} targets past a row's end"
            )
        for rung in self.funnel.rungs:
            if rung not in SIZES:
                raise ValueError(f"funnel.rungs names {rung!r}; allowed are {', '.join(SIZES)}")
        return self

    @property
    def words(self) -> str:
        """The words of a command that load this configuration again, quoted for a shell."""
        return self._words or f"--source {self.source.name}"

    def loaded_by(self, words: str) -> Config:
        """The same configuration, which remembers its `words`."""
        copy = self.model_copy()
        copy._words = words
        return copy

    @property
    def digest(self) -> str:
        """SHA-256 of the whole configuration, the first 16 hexadecimal digits."""
        return self.digest_of(*sorted(type(self).model_fields))

    def digest_of(self, *sections: str) -> str:
        """Digest of some sections, so that a stage is repeated only when what it reads changed."""
        content = self.model_dump(mode="json", include=set(sections))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def parse(content: dict[str, Any], origin: str) -> Config:
    """A `Config` from plain values. Raises ConfigError, one line that names every key that was refused."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        told = [_problem(**problem) for problem in error.errors(include_url=False, include_context=False)]
        count = f"{len(told)} problems: " if len(told) > 1 else ""
        raise ConfigError(f"{origin} cannot be used: {count}{'; '.join(told)}") from None


def _problem(type: str, loc: tuple[str | int, ...], msg: str, input: Any) -> str:
    """One refused key, from pydantic's words for it."""
    place = ".".join(str(part) for part in loc) or "configuration"
    if type == "extra_forbidden":
        return f"{place} is unknown, allowed are {', '.join(_section(loc[:-1]).model_fields)}"
    return f"{place}: {msg}, given {input!r:.120}"


def _section(place: tuple[str | int, ...]) -> type[BaseModel]:
    """The section at a place of the tree; a number is a place in a list of sections."""
    section: type[BaseModel] = Config
    for part in place:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            candidates = (annotation, *get_args(annotation))
            section = next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    return section


def overlay(base: Config, changes: dict[str, Any], origin: str) -> Config:
    """`base` with the keys of `changes` replaced, section by section."""
    return parse(merge(base.model_dump(mode="json"), changes), origin)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises ConfigError when it is absent or not TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; pass the path of a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes` laid over it; tables are merged, everything else replaced."""
    merged = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_tables else value
    return merged
