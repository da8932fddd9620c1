"""Configuration of the network, its training and its evaluation. Does not import torch.

Shapes used below: d backbone width, d_e item-embedding width, d_out decoding width, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from expectations.section import Section
from model.sizes import SIZES, Size

FRESHNESS = "launch"
"""Name of the launch phases among a catalogue's features."""
FRESHNESS_FREQUENCIES = 16
FRESHNESS_WIDTH = 2 * FRESHNESS_FREQUENCIES + 1
"""A cosine and a sine a frequency, and a one."""
MIN_OUTPUT_WIDTH = 32


class ModelConfig(Section):
    """Architecture of the recommender. Everything but `size` is the same for all rungs."""

    size: str = "200k"
    """Backbone preset, a key of `model.sizes.SIZES`."""
    item_width: int = Field(64, ge=8)
    """d_e, width of the ID embedding and of the semantic item vector."""
    output_width: int = Field(64, ge=MIN_OUTPUT_WIDTH)
    """d_out, decoding width; d/8 in production and never under 32."""
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    """Dropout in the backbone and on the event token."""
    modalities: tuple[tuple[str, int], ...] = (("language", 384), ("graph", 64), ("annotation", 64))
    """Frozen item features: column of `item_features` and its width."""
    actions: int = Field(1, ge=1)
    """Number of actions of the source."""
    context_fields: tuple[str, ...] = ()
    """Context columns that the source has."""
    context_buckets: int = Field(512, ge=2)
    """Codes of a hashed context field."""
    max_length: int = Field(256, ge=8)
    """L: longest sequence, start token not counted."""
    freshness: bool = False
    """Whether a score may depend on the time since an item's launch (`model.network.freshness`); it takes 33 of
    `output_width`. For sources that know launch dates."""

    @model_validator(mode="after")
    def _size_is_known(self) -> ModelConfig:
        if self.size not in SIZES:
            raise ValueError(f"size {self.size!r} is unknown; allowed are {', '.join(SIZES)}")
        return self

    @model_validator(mode="after")
    def _output_width_has_room(self) -> ModelConfig:
        if self.semantic_output_width < MIN_OUTPUT_WIDTH:
            raise ValueError(
                f"output_width is {self.output_width}; with freshness allowed is "
                f"{MIN_OUTPUT_WIDTH + FRESHNESS_WIDTH} or more"
            )
        return self

    @property
    def semantic_output_width(self) -> int:
        """Width of ψ's part of a candidate vector: d_out less what freshness takes."""
        return self.output_width - FRESHNESS_WIDTH * self.freshness

    @property
    def features(self) -> tuple[tuple[str, int], ...]:
        """Every feature that a catalogue must have, with its width."""
        return self.modalities + (((FRESHNESS, FRESHNESS_WIDTH),) if self.freshness else ())

    @property
    def backbone(self) -> Size:
        return SIZES[self.size]


class ObjectiveConfig(Section):
    """The multi-token objective: which labels, which weights, which negatives."""

    label_window: int = Field(5, ge=1, le=128)
    """K: labels of one position at most."""
    horizon_hours: float | None = Field(None, gt=0)
    """H: a label lies at most this long after its position; None is without limit."""
    half_life_hours: float | None = Field(1.0, gt=0)
    """β of equation 2; None is w = r."""
    keep_own_item: bool = False
    """Whether position t's own item may be its label; for sources whose users repeat items."""
    tied_positions: Literal["all", "last"] = "all"
    """Which events at one instant are loss positions: each, or the last, which alone has the context of
    a request."""
    negatives_fraction: float = Field(0.01, gt=0.0, le=1.0)
    """Share of the candidates sampled as shared negatives …"""
    negatives_minimum: int = Field(2048, ge=1)
    """… but at least min(V, this)."""
    logq_correction: bool = False
    """Adds the sampling correction to the logits; off as in the paper."""
    softmax: Literal["sampled", "full"] = "sampled"
    """`full` normalises over every candidate."""


class TrainingConfig(Section):
    """How weights are fitted. A warm start uses the `finetune_*` numbers."""

    seed: int = 1
    batch_tokens: int = Field(4096, ge=64)
    """Tokens of one packed batch."""
    epochs: float = Field(10.0, gt=0)
    """Passes over the loss positions of a cold start."""
    finetune_epochs: float = Field(5.0, gt=0)
    """Passes over the loss positions of a fine-tuning cycle."""
    learning_rate: float = Field(1e-3, gt=0)
    finetune_learning_rate: float = Field(5e-4, gt=0)
    embedding_learning_rate: float = Field(1e-3, gt=0)
    """Step of the row-wise (sparse) optimizer of the ID table."""
    weight_decay: float = Field(0.01, ge=0)
    warmup_fraction: float = Field(0.05, ge=0, le=1)
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of the dense gradient."""
    validation_days: float = Field(1.0, ge=0)
    """Labels of the last days before the split are held out to watch validation MRR; 0 holds out none."""
    checkpoint_every_steps: int = Field(50, ge=1)
    """Steps between two resumable states."""
    features_as_of: Literal["split", "parent split"] = "split"
    """Item features that a fine-tuning cycle trains with: its own, or, for items that had them, those of its
    parent's cycle, which have not seen the labels yet. Evaluation always takes the cycle's own."""
    carry_moments: bool = True
    """Whether a warm start keeps the parent's optimizer moments for known rows."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1)
    """CPU threads of torch; part of bit-identity. Of a second one a backbone of 100k parameters gains a
    tenth to a quarter on an idle machine, and loses up to half beside another busy process."""


class TaskConfig(Section):
    """An evaluation task: the labels that satisfy every bound that is not None."""

    name: str
    title: str = ""
    """What the task measures, for reports."""
    min_gap_hours: float | None = None
    """The user's previous event is at least this many hours before the label."""
    max_gap_hours: float | None = None
    """The user's previous event is at most this many hours before the label."""
    max_item_age_days: float | None = None
    """The label's item was launched at most this many days before the label."""


DEFAULT_TASKS = (
    TaskConfig(name="A", title="long-horizon taste", min_gap_hours=24.0),
    TaskConfig(name="B", title="short-horizon engagement", max_gap_hours=1.0),
    TaskConfig(name="C", title="availability-driven", max_item_age_days=28.0),
)


class EvaluationConfig(Section):
    """How models are evaluated on the labels of the evaluation window."""

    tasks: tuple[TaskConfig, ...] = DEFAULT_TASKS
    slices: tuple[str, ...] = ("cold_start", "weak_id", "new_user")
    """Built-in slices, or a context field (`country`), which gives one slice a value."""
    delays_hours: tuple[float, ...] = (0.0, 48.0)
    """Serving delays of the replay protocol; the gates read the first."""
    weak_id_events: int = Field(20, ge=1)
    """An in-vocabulary item with fewer events up to the split is a weak-ID item."""
    hits_at: tuple[int, ...] = (10, 50)
    """k of hit rate@k and NDCG@k."""
    bootstrap_samples: int = Field(1000, ge=100)
    block_items: int = Field(65536, ge=1)
    """Items scored at once while ranks are counted."""
