"""What stages record: one frozen dataclass a stage, with units in the names, read by attribute.

The Spark jobs' own are in `spark_jobs.figures`; a record carries the name of its class, and
`pipeline.cycle.records` reads it back typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from expectations.figures import Drift, FileLines, JudgementRow, LateEvents, NewLines, Window
from model.evaluation.figures import Lists, Measures, Yardstick
from pipeline.gates.rules import Verdict


@dataclass(frozen=True)
class AcceptedData:
    """A person's word by which a red suite passed."""

    expectations: tuple[str, ...]
    """Those that failed, `table.name`."""
    by: str
    at: str
    """ISO 8601, UTC."""
    reason: str

    @property
    def words(self) -> str:
        """For people."""
        return f"accepted by {self.by} on {self.at[:10]}: {self.reason}"


@dataclass(frozen=True)
class ValidateEventsFigures:
    window: Window
    new_lines: NewLines
    drift: Drift | None
    """None: no earlier cycle to compare with."""
    compared_with: tuple[str, ...]
    """Earlier cycles whose windows were compared."""
    judgements: tuple[JudgementRow, ...]
    page: str
    """File name of the expectation page in the cycle's report folder."""
    accepted: AcceptedData | None = None
    """None: the suite passed by itself."""
    files: tuple[FileLines, ...] = ()
    """The new files, by path, the last `losses.past_files` of them: the past of later cycles."""
    days_after_the_last: int | None = None
    """Days of the window after the last event; None in records from before this was kept."""
    late: LateEvents | None = None
    """None: no earlier cycle to compare with."""
    cautions: tuple[str, ...] = ()
    """Large losses of files that no earlier ones can be compared with, a sentence each."""


@dataclass(frozen=True)
class ValidateSequencesFigures:
    judgements: tuple[JudgementRow, ...]
    page: str
    """File name of the expectation page in the cycle's report folder."""
    accepted: AcceptedData | None = None
    """None: the suite passed by itself."""


@dataclass(frozen=True)
class PassesFigures:
    """How many passes over the loss positions the models of a cycle make, and how that was found."""

    passes: float
    why: str
    """In words: what the number follows from."""
    fine_tuned: bool
    """Whether the run that found it started from a parent; a run that starts otherwise does not use it."""
    most_passes: float
    """Configured passes."""
    held_out_after: str | None = None
    """Held-out labels lie after this instant, ISO 8601 in UTC …; None: nothing was held out."""
    held_out_until: str | None = None
    """… and not after this one."""
    held_out_labels: int = 0
    """Held-out labels that were ranked."""
    held_out_mrr: tuple[tuple[float, float], ...] = ()
    """Passes and MRR on held-out labels, as measured at a constant learning rate."""
    steps: int = 0
    """Steps that the search took."""
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainingFigures:
    """How one model was trained."""

    steps: int
    epochs: float
    """Passes over the loss positions."""
    tokens: int
    seconds: float
    tokens_per_second: float
    final_loss: float
    """Mean of the last points of the training curve, nats."""
    validation_mrr: tuple[tuple[int, float], ...]
    """Step and MRR on held-out labels; empty where the run trains on every label."""
    validation_examples: int
    training_curve: tuple[tuple[int, float], ...]
    """Step and loss, nats."""
    sequences: int
    loss_positions: int
    labels: int
    negligible_label_fraction: float
    """Share of the labels whose weight is below 0.001."""
    packing_efficiency: float
    """Share of the packed slots that hold a token."""
    eligible_items: int
    """Items that negatives are sampled from."""
    vocabulary: int
    """Rows of the ID table."""
    masking_rate: float
    backbone_parameters: int
    parameters: int
    start: str
    """What training started from, in words: `version 1, cycle 2026-02-01` or `from scratch`."""
    parent_digest: str | None
    """SHA-256 of the weights it started from."""
    checkpoint_digest: str = ""
    """SHA-256 of the trained weights."""
    passes: PassesFigures | None = None
    """How the number of passes was found; None: the configured passes were made unasked."""


@dataclass(frozen=True)
class TrainFigures:
    """The stage `train`."""

    training: TrainingFigures | None
    not_finite: str | None = None
    """What was not a finite number; the candidate was then refused and `training` is None."""


@dataclass(frozen=True)
class EvaluationWindowFigures:
    """Counts of an evaluation window."""

    labels: int
    label_users: int
    catalogue_items: int
    """Items eligible at the window's last label."""
    labels_outside_catalogue: int
    """Labels whose item was not eligible; they count at the last rank."""
    tasks_not_applicable: tuple[str, ...]


@dataclass(frozen=True)
class YardsticksFigures:
    """What the yardsticks of a cycle counted, for the stages that find them ranked already."""

    key: str
    """Digest of everything that they were counted from."""
    yardsticks: tuple[Yardstick, ...]


@dataclass(frozen=True)
class RungFigures:
    """One small model of the funnel."""

    size: str
    """Backbone preset."""
    window: EvaluationWindowFigures
    verdicts: tuple[Verdict, ...]
    outcome: str
    """`passed` or `refused`."""
    training: TrainingFigures | None = None
    """None: the loss was not a finite number."""
    compared_with: str | None = None
    """What the rung was compared with, in words; None: there was nothing, and a verdict says why."""
    relative_difference: float | None = None
    """(MRR − MRR of what it was compared with) / the latter, all labels; None as `compared_with`."""
    saved: str | None = None
    """What the refusal saved, in words; None: the rung passed."""
    measures: Measures | None = None
    """None: no rank is stored, since a loss or score was not a finite number."""
    yardsticks: tuple[Yardstick, ...] = ()
    """What the yardsticks counted; empty in records from before this was kept."""
    lists: Mapping[str, Lists] = field(default_factory=dict)
    """What the lists of each model show, by its name in `ranks`; empty as `yardsticks`."""


@dataclass(frozen=True)
class EvaluateFigures:
    """The full model beside the champion and the yardsticks."""

    window: EvaluationWindowFigures
    checkpoint_digest: str
    size_megabytes: float
    """Size of what is served: weights, item features, items and their names."""
    latency_milliseconds: float | None
    """Median time to score one history against the whole catalogue on the CPU; None: scores were not finite."""
    not_finite: str | None
    """Which score was not a finite number; the candidate then has no ranks. None: all were."""
    reference_not_comparable: str | None
    """Why the reference cannot be ranked on today's tables; None: it was, or there is none."""
    measures: Measures
    """Of the candidate beside the champion and the yardsticks, as far as they were ranked."""
    yardsticks: tuple[Yardstick, ...] = ()
    """What the yardsticks counted; empty in records from before this was kept."""
    lists: Mapping[str, Lists] = field(default_factory=dict)
    """What the lists of each model show, by its name in `ranks`; empty as `yardsticks`."""
    earlier: str | None = None
    """The earlier champion in words, `version 3, cycle 2026-02-01`; None: there is none so many promotions back."""
    earlier_not_comparable: str | None = None
    """Why the earlier champion cannot be ranked on today's tables; None: it was, or there is none."""


@dataclass(frozen=True)
class CyclePair:
    """Relative differences of a rung and of the full model to what each was compared with, in one cycle."""

    cycle: str
    rung: float
    full: float


@dataclass(frozen=True)
class Agreement:
    """How often a rung and the full model pointed the same way."""

    rung: str
    """Size of the rung."""
    cycles: int
    agreed: int
    pairs: tuple[CyclePair, ...]


@dataclass(frozen=True)
class FunnelFigures:
    verdicts: tuple[Verdict, ...]
    outcome: str
    """`passed` or `refused`."""
    agreement: tuple[Agreement, ...]
    loses_to: tuple[str, ...] = ()
    """Yardsticks with a higher MRR over all labels."""
    relative_difference: float | None = None
    """(MRR − champion's MRR) / champion's MRR, all labels."""
    by_hand: str | None = None
    """Why only a person may promote the version; None: promotion is as configured."""


@dataclass(frozen=True)
class RegisterFigures:
    version: int
    model: str
    """Name of the registered model."""
    checkpoint_digest: str


@dataclass(frozen=True)
class PromoteFigures:
    version: int
    """This cycle's version."""
    champion: int | None
    """The live version after the stage."""
    moved: bool
    why: str
    """Why the alias did not move; empty when it did."""


@dataclass(frozen=True)
class ReportFigures:
    outcome: str
    """`accepted`, `refused` or `unfinished`."""
    title: str
    page: str
    """File name of the cycle report."""
