"""Ranks the labels of a window by models and yardsticks, and writes the rows of `ranks`.

It judges nothing: that is `pipeline.gates`.
"""

from __future__ import annotations

import hashlib
import json
import time

import numpy as np
import torch
from numpy.typing import NDArray

from expectations.instants import microseconds
from model.evaluation import yardsticks
from model.evaluation.bootstrap import SEED
from model.evaluation.examples import DAY_US, HOUR_US
from model.evaluation.names import FROZEN, MARKOV, MOVING, ModelName
from model.evaluation.ranking import Ranking, View, candidate_vectors, encode_histories, rank_examples
from model.evaluation.ranks import Condition, StoredRanks, rank_rows, ranked_with, write_ranks
from model.network.recommender import score
from pipeline.cycle.context import StageContext
from pipeline.evaluation.models import Contender
from pipeline.evaluation.window import Ints, Window

YARDSTICKS = tuple(yardsticks.DEFINITIONS)
LATENCY_RUNS = 20
"""Histories scored one by one to measure latency, after a first that warms up."""


def rank_contender(
    context: StageContext,
    window: Window,
    contender: Contender,
    conditions: tuple[Condition, ...] | None = None,
) -> int:
    """Ranks the window by one model and writes its rows; `conditions` None is all of them.

    Returns the version of `ranks`. Raises `model.evaluation.ranking.NotFiniteScoreError` when a score is
    not finite.
    """
    chosen = tuple(window.ends) if conditions is None else conditions
    views = [window.view(condition) for condition in chosen]
    rankings = _rank(context, window, contender, views)
    context.say(f"{contender.name}: {window.examples.size:,} labels ranked under {len(chosen)} conditions")
    rankings_by_condition = dict(zip(chosen, rankings, strict=True))
    return _write(context, window, contender.name, contender.digest, rankings_by_condition)


def rank_exchanged(
    context: StageContext, window: Window, contender: Contender, name: ModelName
) -> int | None:
    """Ranks every label from the history of another user's example, drawn at random, under the judged
    condition: what the model would be worth if it did not matter whose history it reads.

    Returns the version of `ranks`, or None where the window has one user only.
    """
    user = window.examples.user
    partner = exchange(user)
    if (user[partner] == user).all():
        return None
    view = window.view(window.judged, partner)
    ranking = _rank(context, window, contender, [view])[0]
    return _write(context, window, name, contender.digest, {window.judged: ranking})


def exchange(user: Ints) -> Ints:
    """A permutation of the examples, int64 [X], that gives (nearly) each one of another user."""
    generator = np.random.default_rng(SEED)
    partner = generator.permutation(user.size)
    for _ in range(20):
        own = np.flatnonzero(user[partner] == user)
        if own.size == 0:
            break
        other = generator.integers(0, user.size, own.size)
        for one, two in zip(own, other, strict=True):
            partner[one], partner[two] = partner[two], partner[one]
    return partner


def rank_yardsticks(context: StageContext, window: Window) -> int:
    """Ranks the window by every yardstick, unless `ranks` holds them already, counted from these very
    tables. Returns the version of `ranks`."""
    cycle, lake, versions = context.cycle, context.settings.lake, context.versions
    examples, candidates, split_us = window.examples, window.candidates, microseconds(cycle.split)
    key = yardsticks_key(context)
    known = [ranked_with(lake, cycle.source, cycle.name, name, key) for name in YARDSTICKS]
    if None not in known:
        return max(known)
    longest = max(condition.delay_hours for condition in window.ends)
    after_us = split_us - round(longest * HOUR_US) - yardsticks.POPULARITY_DAYS * DAY_US - 1
    log = yardsticks.read_events(
        lake, cycle.source, versions["events"], window.items.item_id, after_us, microseconds(cycle.cutoff)
    )
    chain = yardsticks.read_transitions(
        lake, cycle.source, cycle.name, versions["sequences"], window.items.launched_at_us.size
    )
    frozen = yardsticks.frozen_popularity_ranks(examples, candidates, log, split_us)
    ranks: dict[str, dict[Condition, NDArray[np.float64]]] = {name: {} for name in YARDSTICKS}
    for condition, ends in window.ends.items():
        ranks[FROZEN][condition] = frozen
        ranks[MARKOV][condition] = yardsticks.markov_ranks(examples, candidates, log, chain, ends, split_us)
        # At a request that stands at the split, moving popularity is the frozen one.
        moving = condition.protocol == "replay"
        ranks[MOVING][condition] = (
            yardsticks.popularity_ranks(examples, candidates, log, condition.delay_hours)
            if moving
            else frozen
        )
    nothing = np.full(examples.size, np.nan)
    version = 0
    for name, by_condition in ranks.items():
        rankings = {condition: Ranking(rank, nothing) for condition, rank in by_condition.items()}
        version = _write(context, window, name, key, rankings)
    context.say(f"yardsticks: {log.item_index.size:,} events and {chain.nnz:,} transitions counted")
    return version


def stored_ranks(context: StageContext, version: int) -> StoredRanks:
    """This cycle's ranks at a Delta version."""
    cycle = context.cycle
    return StoredRanks.read(context.settings.lake, cycle.source, cycle.name, version)


def latency_milliseconds(context: StageContext, window: Window, contender: Contender) -> float:
    """Median wall time of scoring one history, the window's longest, against the whole catalogue."""
    histories = window.examples.histories
    user = np.array([np.diff(histories.offset).argmax()])
    end = histories.offset[user + 1]
    recommender, catalogue = contender.recommender, contender.catalogue
    with torch.inference_mode():
        items = candidate_vectors(recommender, catalogue, window.candidates.item_index)
        seconds = []
        for _ in range(LATENCY_RUNS + 1):
            clock = time.perf_counter()
            vector = encode_histories(
                recommender, catalogue, histories, user, end, context.config.sequences.context_length
            )
            score(vector, items).topk(min(100, items.shape[0])).indices.cpu()
            seconds.append(time.perf_counter() - clock)
    return round(1000 * float(np.median(seconds[1:])), 3)


def _rank(context: StageContext, window: Window, contender: Contender, views: list[View]) -> list[Ranking]:
    config = context.config
    return rank_examples(
        contender.recommender,
        contender.catalogue,
        window.examples,
        window.candidates,
        views,
        config.sequences.context_length,
        config.evaluation.block_items,
    )


def _write(
    context: StageContext, window: Window, name: str, digest: str, rankings: dict[Condition, Ranking]
) -> int:
    cycle = context.cycle
    parts = [(condition, window.ends[condition], ranking) for condition, ranking in rankings.items()]
    rows = rank_rows(cycle.name, name, digest, window.examples, window.candidates, parts)
    return write_ranks(rows, context.settings.lake, cycle.source, cycle.name, name)


def yardsticks_key(context: StageContext) -> str:
    """Digest of everything that the yardsticks' ranks of this cycle are a function of; it stands in
    `ranks` where a model has that of its weights."""
    tables = ("events", "items", "vocabulary", "sequences", "evaluation_sequences")
    reference = context.cycle.reference
    content = [
        yardsticks.DEFINITIONS,
        {table: context.versions[table] for table in tables},
        context.config.digest_of("evaluation"),
        reference.cycle if reference else None,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
