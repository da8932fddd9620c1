"""One cycle's evaluation window: its examples, the eligible items, and what each condition lets a model see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from expectations.instants import microseconds
from model.arrays import Ints
from model.data.context import read_context_names
from model.data.eligible_items import EligibleItems
from model.data.histories import Histories, read_histories
from model.data.items import Items, read_items
from model.data.pair_signals import PairLists, Requests, pair_lists
from model.data.signals import Signals, window_signals
from model.data.vocabulary import read_vocabulary
from model.evaluation.examples import (
    Examples,
    build_examples,
    history_ends,
    request_times,
)
from model.evaluation.measures import conditions
from model.evaluation.ranking import View
from model.evaluation.ranks import Condition
from model.network.item_signals import ItemSignals
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import EvaluationWindowFigures
from pipeline.cycle.signals import signals_shape


class WindowSignals:
    """Item and pair signals of the window's requests, read and counted when a model first needs them."""

    def __init__(self, context: StageContext, items: int) -> None:
        self._context, self._count = context, items
        self._lists: dict[str, PairLists] = {}

    @cached_property
    def tables(self) -> Signals:
        """Both tables up to the cutoff."""
        cycle, lake = self._context.cycle, self._context.settings.lake
        shape = signals_shape(self._context)
        return window_signals(lake, cycle.source, cycle.name, self._context.versions, shape, self._count)

    @property
    def items(self) -> ItemSignals:
        """Item signals up to the cutoff."""
        return self.tables.items

    def pairs(self, histories: Histories, view: View) -> PairLists:
        """Pair signals of a view's requests; the same view of the same actions is counted once.

        `histories` are the window's, with the codes of actions that the model reads.
        """
        digest = hashlib.sha256()
        for column in (view.user, view.end, view.requested_at_us, histories.action):
            digest.update(column.tobytes())
        key = digest.hexdigest()
        if key not in self._lists:
            requests = Requests(view.user, view.end, view.requested_at_us)
            tables = self.tables
            self._lists[key] = pair_lists(
                histories, requests, tables.successors, self._count, tables.items.bucket_us
            )
        return self._lists[key]


@dataclass(frozen=True)
class Window:
    """One cycle's evaluation window. X: label events."""

    examples: Examples
    eligible: EligibleItems
    items: Items
    ends: dict[Condition, Ints]
    """Where each visible history ends, int64 [X], by condition; gates read the first condition."""
    requested_at_us: dict[Condition, Ints]
    """When each label's recommendations are requested, int64 [X], by condition; microseconds since
    1970-01-01 UTC."""
    signals: WindowSignals

    @property
    def judged(self) -> Condition:
        """The condition that gates read: replay at the first delay."""
        return next(iter(self.ends))

    def view(self, condition: Condition, partner: Ints | None = None) -> View:
        """The histories from which the labels are ranked under a condition: each its own or, with `partner`
        (int64 [X]), that of another example."""
        chosen = np.arange(self.examples.size) if partner is None else partner
        user, end, request = self.examples.user, self.ends[condition], self.requested_at_us[condition]
        return View(user[chosen], end[chosen], request[chosen])


def open_window(context: StageContext) -> Window:
    """Reads the window's examples. Raises `model.evaluation.examples.ExamplesError` when there are none."""
    config, cycle, lake = context.config.evaluation, context.cycle, context.settings.lake
    source, versions = cycle.source, context.versions
    items = read_items(lake, source, versions["items"])
    count, split_us = items.launched_at_us.size, microseconds(cycle.split)
    vocabulary = read_vocabulary(lake, source, cycle.name, versions["vocabulary"], count)
    reference = None
    if cycle.reference is not None:
        older = accepted.table_versions(context.settings, source, cycle.reference)["vocabulary"]
        reference = read_vocabulary(lake, source, cycle.reference.cycle, older, count)
    examples = build_examples(
        read_histories(lake, source, cycle.name, versions["evaluation_sequences"]),
        items,
        config.tasks,
        config.slices,
        vocabulary,
        reference,
        config.weak_id_events,
        _context_names(context),
    )
    return Window(
        examples=examples,
        eligible=EligibleItems.of(items.launched_at_us, vocabulary.retired),
        items=items,
        signals=WindowSignals(context, count),
        ends={
            condition: history_ends(examples, condition.protocol, condition.delay_hours, split_us)
            for condition in conditions(config)
        },
        requested_at_us={
            condition: request_times(examples, condition.protocol, condition.delay_hours, split_us)
            for condition in conditions(config)
        },
    )


def _context_names(context: StageContext) -> dict[str, dict[int, str]]:
    """Values in the window by code, for every context field that makes slices."""
    config, cycle = context.config, context.cycle
    version, span = context.versions["events"], (microseconds(cycle.split), microseconds(cycle.cutoff))
    return {
        field: read_context_names(
            context.settings.lake, cycle.source, version, field, *span, config.sequences.context_buckets
        )
        for field in config.evaluation.slices
        if field in config.source.context_fields
    }


def window_figures(window: Window) -> EvaluationWindowFigures:
    """Counts of the window, for the record."""
    examples, size = window.examples, window.eligible.sizes_at(window.examples.event_at_us)
    return EvaluationWindowFigures(
        labels=examples.size,
        label_users=int(np.unique(examples.user).size),
        catalogue_items=int(size.max()),
        labels_outside_catalogue=int((window.eligible.column[examples.item_index] >= size).sum()),
        tasks_not_applicable=tuple(examples.not_applicable),
    )
