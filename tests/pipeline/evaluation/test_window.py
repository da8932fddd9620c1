"""What a stage opens to rank a window: its examples, the eligible items, and what may be seen of histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.data.delta import TableError
from model.evaluation.ranks import Condition
from pipeline.evaluation.window import open_window, window_figures
from pipeline.settings import Settings
from tests.factories import CUTOFFS
from tests.pipeline import small_lake


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first cycle; two of its fourteen items are outside the vocabulary."""
    return small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")), items=14)


def test_a_window_holds_every_condition_and_the_gates_read_the_first(first):
    window = open_window(first)
    conditions = [Condition("replay", 0.0), Condition("replay", 48.0), Condition("cutoff", 0.0)]
    assert list(window.ends) == list(window.requested_at_us) == conditions
    assert window.judged == Condition("replay", 0.0)
    assert window.examples.size == small_lake.USERS * small_lake.IN_WINDOW
    assert window.eligible.item_index.tolist() == list(range(14))


def test_the_figures_count_the_window(first):
    figures = window_figures(open_window(first))
    assert (figures.labels, figures.label_users) == (240, 60)
    assert (figures.catalogue_items, figures.labels_outside_catalogue) == (14, 0)
    assert figures.tasks_not_applicable == ("C",)


def test_a_view_is_of_the_own_history_or_of_another_examples(first):
    window = open_window(first)
    own = window.view(window.judged)
    assert np.array_equal(own.user, window.examples.user)
    partner = np.arange(window.examples.size)[::-1]
    others = window.view(window.judged, partner)
    for name in ("user", "end", "requested_at_us"):
        assert np.array_equal(getattr(others, name), getattr(own, name)[::-1]), name


def test_a_window_without_a_label_says_so(first):
    later = replace(first, cycle=replace(first.cycle, cutoff=CUTOFFS[2]))
    with pytest.raises(TableError, match="no user with a label event"):
        open_window(later)


def test_signals_of_a_window_reach_up_to_the_cutoff_and_are_read_once(first):
    window = open_window(first)
    assert window.signals.tables is window.signals.tables
    items, histories = window.signals.items, window.examples.histories
    totals = items.state[items.offset[1:13] - 1, -1].exp().round().tolist()
    assert totals == np.bincount(histories.item_index, minlength=12).tolist()
    assert items.count == 14 and items.offset[12] == items.offset[14]  # two items without an event
    assert window.signals.tables.successors.event_at_us.max() == histories.event_at_us.max()


def test_the_pairs_of_a_view_are_counted_once_for_each_meaning_of_actions(first):
    window = open_window(first)
    histories, view = window.examples.histories, window.view(window.judged)
    pairs = window.signals.pairs(histories, view)
    assert pairs.size == window.examples.size
    assert window.signals.pairs(histories, window.view(window.judged)) is pairs
    translated = replace(histories, action=np.zeros_like(histories.action))
    other = window.signals.pairs(translated, view)
    assert np.array_equal(other.item_index, pairs.item_index)
    assert not np.array_equal(other.flags, pairs.flags)  # they have a flag for each action
    assert window.signals.pairs(replace(histories, action=histories.action.copy()), view) is pairs
