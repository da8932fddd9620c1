"""Ranks the labels of a window by models and yardsticks, and writes the rows of `ranks`.

Models are judged in `pipeline.gates`, not here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from expectations.files import write_atomically
from expectations.instants import SECOND_US, microseconds
from expectations.wording import number
from model.arrays import Ints
from model.data.events import EventLog, read_events
from model.data.pair_signals import Requests, chain_scores
from model.data.past_labels import read_past_labels
from model.data.transitions import read_transitions
from model.evaluation import lists, spans, yardsticks
from model.evaluation.bootstrap import SEED
from model.evaluation.decay import HalfLife, choose_half_life, decayed_changes
from model.evaluation.figures import Lists, Span, Yardstick
from model.evaluation.names import (
    DECAYED,
    DECAYED_UNSEEN,
    FROZEN,
    MARKOV,
    MARKOV_NOW,
    MOVING,
    ModelName,
)
from model.evaluation.ranking import Ranking, View, rank_examples
from model.evaluation.ranks import SCHEMA, Condition, StoredRanks, rank_rows, ranked_with, write_ranks
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import YardsticksFigures
from pipeline.cycle.records import plain_figures, typed_figures
from pipeline.evaluation.models import Contender
from pipeline.evaluation.window import Window

YARDSTICKS = tuple(yardsticks.DEFINITIONS)
CHAINS = (MARKOV, MARKOV_NOW)
UNDESCRIBED = tuple(Yardstick(name, (Span(7, 0, 0),)) for name in (MOVING, FROZEN, MARKOV))
"""The yardsticks of a record from before it said what they counted."""
EXCHANGE_ROUNDS = 20
"""How often examples that kept their own user are exchanged again, at random."""


class RankedModel(NamedTuple):
    """One model's ranks of a window."""

    version: int
    """Delta version of `ranks`."""
    lists: Lists | None
    """What its lists show under the condition that gates read; None where it was not ranked under it."""


class RankedYardsticks(NamedTuple):
    """The yardsticks of a window."""

    version: int
    """Delta version of `ranks`."""
    figures: tuple[Yardstick, ...]


def rank_contender(
    context: StageContext,
    window: Window,
    contender: Contender,
    conditions: tuple[Condition, ...] | None = None,
) -> RankedModel:
    """Ranks the window by one model, under some conditions or (None) all of them, and writes its rows.

    Raises `model.evaluation.ranking.NotFiniteScoreError` when a score is
    not finite.
    """
    chosen = tuple(window.ends) if conditions is None else conditions
    views = [window.view(condition) for condition in chosen]
    judged = chosen.index(window.judged) if window.judged in chosen else None
    rankings = rank_views(context, window, contender, views, judged)
    count = "one condition" if len(chosen) == 1 else f"{len(chosen)} conditions"
    context.say(f"{contender.name}: {window.examples.size:,} labels ranked under {count}")
    rankings_by_condition = dict(zip(chosen, rankings, strict=True))
    version = _write(context, window, contender.name, contender.digest, rankings_by_condition)
    return RankedModel(version, None if judged is None else _lists(window, rankings[judged].shown))


def rank_exchanged(
    context: StageContext, window: Window, contender: Contender, name: ModelName
) -> int | None:
    """Ranks every label from another user's history, drawn at random, under the condition that gates read;
    the rows are written under `name`. A model that ignores histories ranks as well from these.

    Returns the version of `ranks`, or None where the window has a single user. Raises as `rank_contender`.
    """
    user = window.examples.user
    partner = exchange(user)
    if (user[partner] == user).all():
        return None
    view = window.view(window.judged, partner)
    ranking = rank_views(context, window, contender, [view])[0]
    return _write(context, window, name, contender.digest, {window.judged: ranking})


def exchange(user: Ints) -> Ints:
    """A permutation of the examples, int64 [X], that gives each an example of another user.

    `user` is the user of each example, int64 [X]. Where one user has more than half of the examples, some
    keep an example of the same user.
    """
    generator = np.random.default_rng(SEED)
    partner = generator.permutation(user.size)
    for _ in range(EXCHANGE_ROUNDS):
        same_user = np.flatnonzero(user[partner] == user)
        if same_user.size == 0:
            break
        drawn = generator.integers(0, user.size, same_user.size)
        for example, other in zip(same_user, drawn, strict=True):
            partner[example], partner[other] = partner[other], partner[example]
    return partner


def rank_yardsticks(context: StageContext, window: Window) -> RankedYardsticks:
    """Ranks the window by every yardstick and writes the rows, unless `ranks` holds them already, counted from the
    same tables."""
    cycle, key, path = context.cycle, _yardsticks_key(context), _yardsticks_path(context)
    stored = [ranked_with(context.settings.lake, cycle.source, cycle.name, name, key) for name in YARDSTICKS]
    if None not in stored and (known := _read_yardsticks(path, key)) is not None:
        return RankedYardsticks(max(stored), known)
    ranks, described = yardstick_ranks(context, window)
    version = 0
    for name, by_condition in ranks.items():
        version = _write(context, window, name, key, by_condition)
    content = plain_figures(YardsticksFigures(key, described))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1))
    return RankedYardsticks(version, described)


def yardstick_ranks(
    context: StageContext, window: Window
) -> tuple[dict[ModelName, dict[Condition, Ranking]], tuple[Yardstick, ...]]:
    """Ranks of the window's labels by every yardstick under every condition, without writing them, and what each
    yardstick counts."""
    cycle, lake, versions = context.cycle, context.settings.lake, context.versions
    examples, eligible, split_us = window.examples, window.eligible, microseconds(cycle.split)
    items = window.items.launched_at_us.size
    log = read_events(
        lake, cycle.source, versions["events"], window.items.item_id, None, microseconds(cycle.cutoff)
    )
    chain = read_transitions(lake, cycle.source, cycle.name, versions["sequences"], items)
    past = log.until(split_us)
    before_us = split_us - round(cycle.window.total_seconds() * SECOND_US)
    past_labels = read_past_labels(lake, cycle.source, cycle.name, versions["sequences"], before_us)
    half_life = choose_half_life(past, past_labels, eligible)
    figures = _yardstick_figures(window, split_us, log, chain, half_life)
    days = {name: found.spans[-1].days for name, found in figures.items()}

    frozen = yardsticks.frozen_changes(log, items, split_us, days[FROZEN])
    span = yardsticks.span_of(examples.event_at_us)
    no_probability = np.full(examples.size, np.nan)
    ranks: dict[ModelName, dict[Condition, Ranking]] = {name: {} for name in YARDSTICKS}
    for condition, ends in window.ends.items():
        is_replay, delay = condition.protocol == "replay", condition.delay_hours
        # Under the cutoff protocol every request is made at the split.
        seen = log if is_replay else past
        moving = yardsticks.moving_changes(log, delay, days[MOVING], *span) if is_replay else frozen
        decayed = decayed_changes(seen, half_life.hours, delay, *span)
        for name, changes in ((FROZEN, frozen), (MOVING, moving), (DECAYED, decayed)):
            ranked = yardsticks.popularity_ranks(examples, eligible, changes, ends)
            ranks[name][condition] = Ranking(ranked.rank, no_probability, ranked.rank_unseen)
            if name == DECAYED:
                demoted = Ranking(ranked.unseen_first, no_probability, ranked.rank_unseen)
                ranks[DECAYED_UNSEEN][condition] = demoted
            if condition == window.judged:
                shown = _lists(window, yardsticks.popularity_lists(examples, eligible, changes))
                figures[name] = replace(figures[name], lists=shown)
        ranked = yardsticks.markov_ranks(examples, eligible, log, chain, ends, split_us, days[FROZEN])
        ranks[MARKOV][condition] = Ranking(ranked.rank, no_probability, ranked.rank_unseen)
        view = window.view(condition)
        now = chain_scores(
            examples.histories,
            Requests(view.user, view.end, view.requested_at_us + (0 if is_replay else 1)),
            window.signals.tables.successors,
            items,
        )
        ranked = yardsticks.markov_now_ranks(examples, eligible, log, now, ends, split_us, days[FROZEN])
        ranks[MARKOV_NOW][condition] = Ranking(ranked.rank, no_probability, ranked.rank_unseen)
    context.say(
        f"yardsticks: {log.item_index.size:,} events and {chain.nnz:,} transitions counted; "
        f"half-life {half_life.hours:g} h"
    )
    return ranks, tuple(figures.values())


def _yardstick_figures(
    window: Window, split_us: int, log: EventLog, chain: sparse.csr_array, half_life: HalfLife
) -> dict[ModelName, Yardstick]:
    """What each yardstick counts, and whether that is enough."""
    requests, whole = window.requested_at_us[window.judged], spans.whole_log(log.until(split_us))
    transitions = Span(None, int(chain.sum()), int(np.unique(chain.indices).size))
    counted: dict[ModelName, tuple[Span, ...]] = {
        FROZEN: spans.spans_until(log, split_us),
        MOVING: spans.spans_before(log, requests),
        DECAYED: (whole,),
        DECAYED_UNSEEN: (whole,),
        MARKOV: (transitions,),
        MARKOV_NOW: (transitions,),
    }
    decay = {
        "half_life_hours": half_life.hours,
        "half_life_labels": half_life.labels,
        "half_life_mrr": tuple(half_life.mrr.items()),
    }
    return {
        name: Yardstick(
            model=name,
            spans=counted[name],
            not_applicable=None
            if spans.is_enough(counted[name][-1])
            else _too_little(name, counted[name][-1]),
            counts="transitions" if name in CHAINS else "events",
            **(decay if name in (DECAYED, DECAYED_UNSEEN) else {}),
        )
        for name in YARDSTICKS
    }


def _too_little(name: ModelName, span: Span) -> str:
    what = "transitions" if name in CHAINS else "events"
    until = "request" if name == MOVING else "split"
    return (
        f"the whole log up to the {until} holds {number(span.events)} {what} of {number(span.items)} items; "
        f"at least {spans.FEWEST_EVENTS} of {spans.FEWEST_ITEMS} items are needed"
    )


def applicable(described: Sequence[Yardstick]) -> tuple[ModelName, ...]:
    """The yardsticks that have enough to count."""
    return tuple(ModelName(one.model) for one in described if one.not_applicable is None)


def stored_ranks(context: StageContext, version: int) -> StoredRanks:
    """This cycle's ranks at a Delta version."""
    cycle = context.cycle
    return StoredRanks.read(context.settings.lake, cycle.source, cycle.name, version)


def _lists(window: Window, shown: Ints) -> Lists:
    """Figures of lists, among the items that are eligible at the window's last label; `shown` int64 [N]."""
    last = int(window.eligible.sizes_at(window.examples.event_at_us).max())
    return lists.describe(shown, window.eligible.item_index[:last])


def rank_views(
    context: StageContext,
    window: Window,
    contender: Contender,
    views: list[View],
    listed: int | None = None,
) -> list[Ranking]:
    """Ranks of the window's labels under each view, without writing them; `listed` is the number of the view whose
    lists of ten are counted. Raises as `rank_contender`."""
    examples, reads = window.examples, contender.recommender.config
    if contender.action_code is not None:
        histories = examples.histories
        own = replace(histories, action=contender.action_code[histories.action])
        examples = replace(examples, histories=own)
    catalogue, pairs = contender.catalogue, None
    if reads.reads_signals:
        catalogue = replace(catalogue, signals=window.signals.items.to(catalogue.item_token.device))
    if reads.pair_signals:
        pairs = [window.signals.pairs(examples.histories, view) for view in views]
    return rank_examples(
        contender.recommender,
        catalogue,
        examples,
        window.eligible,
        views,
        contender.context_length,
        context.config.evaluation.block_items,
        pairs,
        listed,
    )


def _write(
    context: StageContext, window: Window, name: ModelName, digest: str, rankings: dict[Condition, Ranking]
) -> int:
    cycle = context.cycle
    parts = [(condition, window.ends[condition], ranking) for condition, ranking in rankings.items()]
    rows = rank_rows(cycle.name, name, digest, window.examples, window.eligible, parts)
    return write_ranks(rows, context.settings.lake, cycle.source, cycle.name, name)


def _yardsticks_path(context: StageContext) -> Path:
    """Where a cycle keeps what its yardsticks counted, for the stages that find them ranked."""
    return context.settings.cycle_folder(context.cycle.source, context.cycle.name) / "yardsticks.json"


def _read_yardsticks(path: Path, key: str) -> tuple[Yardstick, ...] | None:
    """What the yardsticks of this key counted; None where it is not kept."""
    if not path.exists():
        return None
    kept = typed_figures(YardsticksFigures.__name__, json.loads(path.read_text()))
    return kept.yardsticks if kept.key == key else None


def _yardsticks_key(context: StageContext) -> str:
    """Digest of everything that the yardsticks' ranks are a function of. `ranks` holds it where it holds the
    digest of a model's weights."""
    tables = ("events", "items", "vocabulary", "sequences", "evaluation_sequences", "successors")
    reference = context.cycle.reference
    content = [
        yardsticks.DEFINITIONS,
        SCHEMA.names,
        {table: context.versions[table] for table in tables},
        context.config.digest_of("evaluation"),
        reference.cycle if reference else None,
        context.cycle.window.total_seconds(),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
