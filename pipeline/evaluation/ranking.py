"""Ranks the labels of a window by models and yardsticks, and writes the rows of `ranks`.

Models are judged in `pipeline.gates`, not here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from expectations.instants import DAY_US, HOUR_US, microseconds
from model.arrays import Ints
from model.data.events import read_events
from model.data.transitions import read_transitions
from model.evaluation import yardsticks
from model.evaluation.bootstrap import SEED
from model.evaluation.names import FROZEN, MARKOV, MOVING, ModelName
from model.evaluation.ranking import Ranking, View, rank_examples
from model.evaluation.ranks import Condition, StoredRanks, rank_rows, ranked_with, write_ranks
from pipeline.cycle.context import StageContext
from pipeline.evaluation.models import Contender
from pipeline.evaluation.window import Window

YARDSTICKS = tuple(yardsticks.DEFINITIONS)
EXCHANGE_ROUNDS = 20
"""How often examples that kept their own user are exchanged again, at random."""


def rank_contender(
    context: StageContext,
    window: Window,
    contender: Contender,
    conditions: tuple[Condition, ...] | None = None,
) -> int:
    """Ranks the window by one model, under some conditions or (None) all of them, and writes its rows.

    Returns the version of `ranks`. Raises `model.evaluation.ranking.NotFiniteScoreError` when a score is
    not finite.
    """
    chosen = tuple(window.ends) if conditions is None else conditions
    views = [window.view(condition) for condition in chosen]
    rankings = _rank(context, window, contender, views)
    count = "one condition" if len(chosen) == 1 else f"{len(chosen)} conditions"
    context.say(f"{contender.name}: {window.examples.size:,} labels ranked under {count}")
    rankings_by_condition = dict(zip(chosen, rankings, strict=True))
    return _write(context, window, contender.name, contender.digest, rankings_by_condition)


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
    ranking = _rank(context, window, contender, [view])[0]
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


def rank_yardsticks(context: StageContext, window: Window) -> int:
    """Ranks the window by every yardstick, unless `ranks` holds their rows already, counted from the same
    tables. Returns the version of `ranks`."""
    cycle, lake, versions = context.cycle, context.settings.lake, context.versions
    examples, eligible, split_us = window.examples, window.eligible, microseconds(cycle.split)
    key = _yardsticks_key(context)
    stored = [ranked_with(lake, cycle.source, cycle.name, name, key) for name in YARDSTICKS]
    if None not in stored:
        return max(stored)
    longest = max(condition.delay_hours for condition in window.ends)
    after_us = split_us - round(longest * HOUR_US) - yardsticks.POPULARITY_DAYS * DAY_US - 1
    log = read_events(
        lake, cycle.source, versions["events"], window.items.item_id, after_us, microseconds(cycle.cutoff)
    )
    chain = read_transitions(
        lake, cycle.source, cycle.name, versions["sequences"], window.items.launched_at_us.size
    )
    frozen = yardsticks.frozen_popularity_ranks(examples, eligible, log, split_us)
    ranks: dict[ModelName, dict[Condition, NDArray[np.float64]]] = {name: {} for name in YARDSTICKS}
    for condition, ends in window.ends.items():
        ranks[FROZEN][condition] = frozen
        ranks[MARKOV][condition] = yardsticks.markov_ranks(examples, eligible, log, chain, ends, split_us)
        # Under the cutoff protocol every request is made at the split, where both popularities are the same.
        ranks[MOVING][condition] = (
            yardsticks.popularity_ranks(examples, eligible, log, condition.delay_hours)
            if condition.protocol == "replay"
            else frozen
        )
    no_probability = np.full(examples.size, np.nan)
    version = 0
    for name, by_condition in ranks.items():
        rankings = {condition: Ranking(rank, no_probability) for condition, rank in by_condition.items()}
        version = _write(context, window, name, key, rankings)
    context.say(f"yardsticks: {log.item_index.size:,} events and {chain.nnz:,} transitions counted")
    return version


def stored_ranks(context: StageContext, version: int) -> StoredRanks:
    """This cycle's ranks at a Delta version."""
    cycle = context.cycle
    return StoredRanks.read(context.settings.lake, cycle.source, cycle.name, version)


def _rank(context: StageContext, window: Window, contender: Contender, views: list[View]) -> list[Ranking]:
    examples = window.examples
    if contender.action_code is not None:
        histories = examples.histories
        own = replace(histories, action=contender.action_code[histories.action])
        examples = replace(examples, histories=own)
    return rank_examples(
        contender.recommender,
        contender.catalogue,
        examples,
        window.eligible,
        views,
        contender.context_length,
        context.config.evaluation.block_items,
    )


def _write(
    context: StageContext, window: Window, name: ModelName, digest: str, rankings: dict[Condition, Ranking]
) -> int:
    cycle = context.cycle
    parts = [(condition, window.ends[condition], ranking) for condition, ranking in rankings.items()]
    rows = rank_rows(cycle.name, name, digest, window.examples, window.eligible, parts)
    return write_ranks(rows, context.settings.lake, cycle.source, cycle.name, name)


def _yardsticks_key(context: StageContext) -> str:
    """Digest of everything that the yardsticks' ranks are a function of. `ranks` holds it where it holds the
    digest of a model's weights."""
    tables = ("events", "items", "vocabulary", "sequences", "evaluation_sequences")
    reference = context.cycle.reference
    content = [
        yardsticks.DEFINITIONS,
        {table: context.versions[table] for table in tables},
        context.config.digest_of("evaluation"),
        reference.cycle if reference else None,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
