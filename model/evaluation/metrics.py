"""Ranks and their metrics: the tie rule, each example's values, and means by group with intervals.

Shape legend
    X  examples     S  bootstrap samples
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.arrays import Flags, Floats, Ints
from model.evaluation import bootstrap
from model.evaluation.bootstrap import Difference, Interval
from model.evaluation.names import SLICE_WORDS


class MetricsError(ValueError):
    """Ranks from which no metric can be computed."""


class Group(NamedTuple):
    """Labels that are measured together."""

    kind: str
    """`all`, `task` or `slice`."""
    name: str
    """`all`, the task's name, a built-in slice, or `field=value` of a context field."""

    @property
    def words(self) -> str:
        """The group for people: `all labels`, `task A`, `cold-start items`, `country=NL`."""
        if self.kind == "all":
            return "all labels"
        return f"task {self.name}" if self.kind == "task" else SLICE_WORDS.get(self.name, self.name)


ALL = Group("all", "all")
SMOOTHING_EVENTS = 10.0
"""Events added to those of every item before labels are weighted by their inverse."""


@dataclass(frozen=True)
class RankedExamples:
    """Ranks of several models for the same examples, under one protocol and serving delay."""

    user: Ints
    """int64 [X]; index of the user, from 0 without a gap."""
    groups: dict[Group, Flags]
    """bool [X] for each group, `ALL` among them."""
    rank: dict[str, Floats]
    """float64 [X] for each model; 1 is best."""
    log_probability: dict[str, Floats]
    """float64 [X] for each model; NaN where there is none."""
    rank_unseen: dict[str, Floats] = field(default_factory=dict)
    """float64 [X] for each model; rank among the items that the user does not have, NaN where he has the
    label's or it was not counted. A model may be left out."""
    label_events: Floats | None = None
    """float64 [X]; events of the label's item up to the split, NaN where that is not known; None as NaN."""

    def only(self, mask: Flags) -> RankedExamples:
        """The examples of a mask, bool [X]."""
        return RankedExamples(
            user=np.unique(self.user[mask], return_inverse=True)[1].reshape(-1).astype(np.int64),
            groups={group: member[mask] for group, member in self.groups.items()},
            rank={model: rank[mask] for model, rank in self.rank.items()},
            log_probability={model: value[mask] for model, value in self.log_probability.items()},
            rank_unseen={model: rank[mask] for model, rank in self.rank_unseen.items()},
            label_events=None if self.label_events is None else self.label_events[mask],
        )


def tied_rank(higher: NDArray[np.number], equal_others: NDArray[np.number]) -> Floats:
    """1 + number scored higher + half of the number of others scored equal, float64 [X].

    Two higher and three others equal give 1 + 2 + 3/2 = 9/2.
    """
    return 1.0 + np.asarray(higher, dtype=np.float64) + np.asarray(equal_others, dtype=np.float64) / 2.0


def reciprocal_rank(rank: Floats) -> Floats:
    """1 / rank, whose mean is the MRR.

    Excludes nothing: a label that is not eligible has rank |C| + 1. Ranks 1, 2 and 4 give 1, 1/2 and 1/4,
    and an MRR of 7/12.
    """
    return 1.0 / rank


def hit_rate(rank: Floats, k: int) -> Floats:
    """1 where the label is among the first k, else 0.

    Excludes nothing; tied items share their middle rank. Ranks 1, 2.5 and 4 give 1, 0 and 0 at k = 2.
    """
    return (rank <= k).astype(np.float64)


def ndcg(rank: Floats, k: int) -> Floats:
    """1 / log₂(1 + rank) where the label is among the first k, else 0; one label per example.

    Excludes nothing. Ranks 1, 3 and 7 give 1, 1/2 and 0 at k = 5, and 1, 1/2 and 1/3 at k = 10.
    """
    return np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)


def test_loss(log_probability: Floats) -> Floats:
    """−log p(label) over all eligible items, in nats.

    Excludes (as NaN) labels that are not eligible and models that give no probability. Equal scores for
    8 eligible items give log 8.
    """
    return -log_probability


test_loss.__test__ = False  # type: ignore[attr-defined]  # a metric, not a test


def rarity(label_events: Floats) -> Floats:
    """1 / (events of the label's item up to the split + 10), the weight of an example in `mrr_rare`.

    A label of an item that nobody had yet weighs twice as much as one of an item with 10 events and 100 times
    as much as one of an item with 990; without the 10 a few unseen items would be all that counts. Ranks 1
    and 2 of labels with 990 and 0 events have the weights 1/1000 and 1/10, and an `mrr_rare` of
    (1/1000 + 1/20) / (1/1000 + 1/10) = 51/101.
    """
    return 1.0 / (label_events + SMOOTHING_EVENTS)


def example_values(rank: Floats, log_probability: Floats, hits_at: tuple[int, ...]) -> dict[str, Floats]:
    """Every metric of every example, by name: float64 [X] each."""
    values = {"mrr": reciprocal_rank(rank)}
    for k in hits_at:
        values[f"hit_rate@{k}"] = hit_rate(rank, k)
        values[f"ndcg@{k}"] = ndcg(rank, k)
    values["test_loss"] = test_loss(log_probability)
    return values


class Summary:
    """Metrics of each model and group of some ranked examples, from one set of bootstrap draws.

    `mrr_by_user` is the mean over users of each user's own MRR; every other metric is pooled over
    examples. `mrr_rare` weights each example by the inverse popularity of its item, see `rarity`;
    `mrr_unseen` ranks among the items that the user does not have, and leaves out labels of those that he
    has. Raises MetricsError when there is no example or a rank is not a finite number of at least 1.
    """

    def __init__(self, ranked: RankedExamples, hits_at: tuple[int, ...] = (10,), samples: int = 1000) -> None:
        if ranked.user.size == 0:
            raise MetricsError("there are no examples to measure")
        self.ranked = ranked
        self.models = tuple(ranked.rank)
        self.groups = tuple(group for group, member in ranked.groups.items() if member.any())
        users = int(ranked.user.max()) + 1
        unknown = np.full(ranked.user.size, np.nan)
        rare = unknown if ranked.label_events is None else rarity(ranked.label_events)
        self._column: dict[tuple[str, Group, str], int] = {}
        columns: list[tuple[Floats, Floats]] = []
        for model in self.models:
            rank = ranked.rank[model]
            if not (np.isfinite(rank).all() and (rank >= 1).all()):
                raise MetricsError(f"ranks of {model} are not all finite and at least 1")
            values = example_values(rank, ranked.log_probability[model], hits_at)
            values["mrr_unseen"] = reciprocal_rank(ranked.rank_unseen.get(model, unknown))
            known = np.where(np.isnan(rare), np.nan, values["mrr"])
            for group in self.groups:
                member = ranked.groups[group]
                for metric, value in values.items():
                    self._column[model, group, metric] = len(columns)
                    columns.append(bootstrap.pooled(ranked.user, value, member, users))
                self._column[model, group, "mrr_rare"] = len(columns)
                columns.append(bootstrap.pooled(ranked.user, known, member, users, rare))
                self._column[model, group, "mrr_by_user"] = len(columns)
                columns.append(bootstrap.by_user(ranked.user, values["mrr"], member, users))
        self._resampled = bootstrap.resample(bootstrap.stack(columns), samples)
        first = ("mrr", "mrr_by_user", "mrr_rare", "mrr_unseen")
        self.metrics = (*first, *(name for name in values if name not in first))

    def value(self, model: str, group: Group, metric: str = "mrr") -> Interval:
        """A model's metric in a group, with its 95 % interval; NaN where no example has a value."""
        column = self._column[model, group, metric]
        return bootstrap.interval(self._resampled.point[column], self._resampled.samples[:, column])

    def difference(self, model: str, against: str, group: Group, metric: str = "mrr") -> Difference:
        """Paired difference in a metric, `model` − `against`, in a group."""
        first, second = self._column[model, group, metric], self._column[against, group, metric]
        point, samples = self._resampled.point, self._resampled.samples
        return bootstrap.difference((point[first], point[second]), (samples[:, first], samples[:, second]))

    def examples(self, group: Group) -> int:
        """Number of examples in a group."""
        return int(self.ranked.groups[group].sum())

    def users(self, group: Group) -> int:
        """Number of users with an example in a group."""
        return int(np.unique(self.ranked.user[self.ranked.groups[group]]).size)
