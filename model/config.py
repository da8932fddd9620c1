"""Configuration of the network, its training and its evaluation. Does not import torch.

`ModelSection` holds the keys that a person sets under `[model]`. `ModelConfig` is what the network is
built from: the same keys and what follows from the source, the features and the sequences
(`pipeline.config.Config.network` makes it).

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
"""A cosine and a sine for each frequency, and a constant."""
MIN_OUTPUT_WIDTH = 32

Modality = Literal["language", "graph", "annotation"]
"""A vector column of `item_features`."""


class _Architecture(Section):
    """What a person's section and the network's configuration share."""

    size: str = "200k"
    """Backbone of the full model, a key of `model.sizes.SIZES`."""
    item_width: int = Field(64, ge=8)
    """d_e, width of the ID embedding and of the semantic item vector."""
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    """Dropout rate in the backbone and on the event token."""
    freshness: bool = False
    """Whether a score may depend on the time since an item's launch (`model.network.freshness`). For
    sources that know launch dates. Adds 33 to d_out."""
    pair_signals: bool = False
    """Whether a score may depend on how the user's history points to an item: had before, and how often it
    followed the last events (`model.network.pair_signals`)."""
    request_time: bool = False
    """Whether a score may depend on the time from the last event to the request and on the time of week of
    the request (`model.network.request`), and freshness counts to the request."""

    @model_validator(mode="after")
    def _size_is_known(self) -> _Architecture:
        if self.size not in SIZES:
            raise ValueError(f"size {self.size!r} is unknown; allowed are {', '.join(SIZES)}")
        return self

    @property
    def backbone(self) -> Size:
        return SIZES[self.size]


class ModelSection(_Architecture):
    """The section `[model]`. Rungs use the same values, with a `size` from `funnel.rungs`."""

    semantic_output_width: int = Field(64, ge=MIN_OUTPUT_WIDTH)
    """Width in which users and items are compared by taste; d/8 in production and at least 32. d_out is
    this width, plus 33 with `freshness`."""
    modalities: tuple[Modality, ...] = ("language", "graph", "annotation")
    """Item features that the item tower reads. Their widths follow from `features`."""
    item_signals: bool = True
    """Whether a score may depend on an item's recent events (`model.network.item_signals`)."""
    pair_signals: bool = True
    """Whether a score may depend on how the user's history points to an item: had before, and how often it
    followed the last events (`model.network.pair_signals`)."""
    request_time: bool = True
    """Whether a score may depend on the time from the last event to the request and on the time of week of
    the request (`model.network.request`), and freshness counts to the request."""

    @model_validator(mode="after")
    def _modalities_are_distinct(self) -> ModelSection:
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities must be distinct, given {', '.join(self.modalities)}")
        return self

    @property
    def output_width(self) -> int:
        """d_out."""
        return self.semantic_output_width + FRESHNESS_WIDTH * self.freshness


class ModelConfig(_Architecture):
    """Everything the network is built from; stored beside weights and in served versions."""

    output_width: int = Field(64, ge=MIN_OUTPUT_WIDTH)
    """d_out, width of user states and item vectors, the 33 columns of freshness included."""
    modalities: tuple[tuple[str, int], ...] = (("language", 384), ("graph", 64), ("annotation", 64))
    """Frozen item features: column of `item_features` and its width."""
    actions: int = Field(1, ge=1)
    """Number of actions of the source."""
    context_fields: tuple[str, ...] = ()
    """Context columns that the source has."""
    context_buckets: int = Field(512, ge=2)
    """Codes of a hashed context field."""
    max_length: int = Field(256, ge=8)
    """L: events of the longest sequence, start token not counted."""
    history: bool = True
    """Whether users differ by their hidden state. False: a learned mixture of the signals, whose weights know
    the time of the request alone; neither backbone nor item vectors count."""
    half_lives: int = Field(0, ge=0)
    """Half-lives of the item signals; 0: the model reads none."""

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
        """Width of ψ's part of an item vector: d_out less the columns of freshness."""
        return self.output_width - FRESHNESS_WIDTH * self.freshness

    @property
    def reads_signals(self) -> bool:
        """Whether a score depends on item or pair signals."""
        return self.half_lives > 0 or self.pair_signals

    @property
    def features(self) -> tuple[tuple[str, int], ...]:
        """Every feature that a catalogue must have, with its width."""
        return self.modalities + (((FRESHNESS, FRESHNESS_WIDTH),) if self.freshness else ())


class ObjectiveConfig(Section):
    """The multi-token objective: which labels, which weights, which negatives."""

    label_window: int = Field(5, ge=1, le=128)
    """K: most labels of one position."""
    horizon_hours: float | None = Field(None, gt=0)
    """H: a label is at most this many hours after its position. None: no limit."""
    half_life_hours: float | None = Field(1.0, gt=0)
    """β of equation 2: hours after which a label's weight has halved. None: the weight is the reward."""
    keep_own_item: bool = False
    """Whether a position's own item may be its label; for sources whose users repeat items."""
    tied_positions: Literal["all", "last"] = "all"
    """Which of several events at one instant are loss positions: all of them, or the last, the only one
    whose context matches what serving sees."""
    positions: Literal["all", "requests"] = "all"
    """Where a loss is computed: at every event that a label follows, or only at the last one strictly before
    a label, whose context is that of a request answered by the label."""
    young_rate: float = Field(0.5, ge=0, le=1)
    """Probability that an item has e_OOV in a step for as long as it is young: for one window after its first
    event. An item that is new when it is ranked has e_OOV too. 0: e_OOV is only given by masks."""
    negatives_fraction: float = Field(0.01, gt=0.0, le=1.0)
    """Fraction of the eligible items sampled as shared negatives …"""
    negatives_minimum: int = Field(2048, ge=1)
    """… but at least min(V, this many)."""
    logq_correction: bool = False
    """Corrects the logits for the sampling probability; off as in the paper. With pair signals it is always on,
    since a user's pairs are all counted and the negatives stand for the rest."""
    softmax: Literal["sampled", "full"] = "sampled"
    """`full` normalises over every eligible item."""


class TrainingConfig(Section):
    """How weights are fitted. A warm start uses the `finetune_*` values."""

    seed: int = 1
    """Seed of initial weights, batch order, negatives, masking and dropout."""
    batch_tokens: int = Field(4096, ge=64)
    """Tokens of one packed batch."""
    epochs: float = Field(10.0, gt=0)
    """Passes over the loss positions of a cold start; the most, where held-out labels find the number."""
    finetune_epochs: float = Field(5.0, gt=0)
    """The same of a fine-tuning cycle."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of the dense weights in a cold start."""
    finetune_learning_rate: float = Field(5e-4, gt=0)
    """Peak learning rate of the dense weights in a fine-tuning cycle."""
    embedding_learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of the ID table's row-wise optimizer in a cold start; a fine-tuning cycle lowers it
    in the same proportion as the dense one."""
    signal_learning_rate: float = Field(1e-2, gt=0)
    """Peak learning rate of the terms of item and pair signals in a cold start; lowered as the dense one."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of the dense weights."""
    warmup_fraction: float = Field(0.05, ge=0, le=1)
    """Fraction of the steps of all configured passes over which the learning rate rises."""
    decay_fraction: float = Field(0.3, ge=0, le=1)
    """Fraction of a run's last steps over which the learning rate falls, by half a cosine."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of the dense gradient."""
    validation_days: float = Field(1.0, ge=0)
    """Days before the split whose labels find the number of passes; at most a quarter of the interval and of
    its labels. They are trained on afterwards. 0: the configured passes are made."""
    validation_min_labels: int = Field(100, ge=1)
    """Fewest held-out labels that may decide; with fewer the configured passes are made."""
    validations_per_epoch: int = Field(4, ge=1)
    """How often a pass of the search measures held-out MRR."""
    patience: int = Field(4, ge=1)
    """Measurements in a row without a better held-out MRR after which the search stops."""
    checkpoint_every_steps: int = Field(50, ge=1)
    """Steps between two resumable states."""
    features_as_of: Literal["split", "parent split"] = "split"
    """Item features that a fine-tuning cycle trains on: its own, or, for items that had them, its
    parent's, which were computed before the new labels. Evaluation always uses the cycle's own."""
    row_step_counts: bool = True
    """Whether each row of the ID table counts its own steps for Adam's bias correction, so that a row that is
    first touched late, or is new after a warm start, takes steps of the right size. False: one count."""
    carry_moments: bool = True
    """Whether a warm start keeps the parent's optimizer moments for known rows."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning's precision."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Lightning's accelerator; `auto` uses a GPU where there is one."""
    threads: int = Field(1, ge=1)
    """CPU threads of torch; another number gives other last bits. A second thread speeds up a backbone of
    100k parameters by 10 to 25 % on an idle machine, and slows it down by up to half on a busy one."""


class TaskConfig(Section):
    """An evaluation task: the labels that satisfy every bound that is not None."""

    name: str
    """Short name, for tables and verdicts."""
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
    """Tasks that are reported and judged."""
    slices: tuple[str, ...] = ("cold_start", "weak_id", "new_user")
    """Built-in slices, or context fields (`country`), which give a slice for each value."""
    delays_hours: tuple[float, ...] = (0.0, 48.0)
    """Serving delays of the replay protocol, in hours; the gates read the first."""
    weak_id_events: int = Field(20, ge=1)
    """An in-vocabulary item with fewer events up to the split is a weak-ID item."""
    hits_at: tuple[int, ...] = (10, 50)
    """k of hit rate@k and NDCG@k."""
    bootstrap_samples: int = Field(1000, ge=100)
    """Bootstrap resamples of the users behind each interval."""
    block_items: int = Field(65536, ge=1)
    """Items scored at once while ranks are counted; limits memory, changes no rank."""
