"""Ranks by inner products: by hand, against brute force in float64, in bounded memory."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.instants import HOUR_US
from model.config import FRESHNESS
from model.data import item_signals, successors
from model.data.pair_signals import Requests, pair_lists
from model.evaluation import ranking
from model.evaluation.examples import history_ends, request_times
from model.evaluation.ranking import NotFiniteScoreError, View, rank_examples, rank_targets
from model.network.catalogue import Catalogue
from model.network.freshness import launch_features
from model.serving.encoding import encode_histories
from tests.model import tiny
from tests.model.signal_rows import BUCKET_US, HALF_LIVES, item_signal_rows, successor_rows
from tests.model.window_of import eligible, examples

ITEMS = torch.tensor([[3.0], [2.0], [2.0], [1.0]])
ONE_USER = torch.ones(1, 1)


def ranks(columns, size, items=ITEMS, users=ONE_USER, block_items=65536):
    queries = np.array(columns, dtype=np.int64)
    return rank_targets(
        users, np.zeros(queries.size, np.int64), items, queries, np.full(queries.size, size), block_items
    )


def test_ranks_with_ties_by_hand():
    # Scores 3, 2, 2, 1: the two equal items have rank 1 + 1 + 1/2.
    assert ranks([0, 1, 2, 3], size=4).rank.tolist() == [1, 5 / 2, 5 / 2, 4]


def test_a_label_that_is_not_eligible_has_the_rank_after_all():
    # Item 3 is launched later; 4 is the column of a retired item.
    ranking = ranks([0, 3, 4], size=3)
    assert ranking.rank.tolist() == [1, 4, 4]
    assert np.isnan(ranking.log_probability).tolist() == [False, True, True]


def test_log_probabilities_are_normalised_over_the_eligible_items():
    ranking = ranks([0, 1, 2], size=3)
    assert np.exp(ranking.log_probability).sum() == pytest.approx(1)
    assert ranking.log_probability[0] - ranking.log_probability[1] == pytest.approx(1)


def test_without_eligible_items_a_label_has_rank_1():
    assert ranks([4], size=0).rank.tolist() == [1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_refused(bad):
    items = ITEMS.clone()
    items[2] = bad
    with pytest.raises(NotFiniteScoreError):
        ranks([0], size=4, items=items)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_ranks_agree_with_brute_force_in_any_blocks(data):
    """Integers are not rounded, so even ties must agree exactly."""
    total, queries, people, width = (data.draw(st.integers(1, most)) for most in (40, 12, 5, 3))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    users, items = draw.integers(-3, 4, (people, width)), draw.integers(-3, 4, (total, width))
    state, column = draw.integers(0, people, queries), draw.integers(0, total + 1, queries)
    size = draw.integers(0, total + 1, queries)
    found = rank_targets(
        torch.from_numpy(users).float(),
        state,
        torch.from_numpy(items).float(),
        column,
        size,
        data.draw(st.integers(1, 50)),
    )
    for number in range(queries):
        scores = (items[: size[number]] @ users[state[number]]).astype(np.float64)
        if column[number] >= size[number]:
            assert found.rank[number] == size[number] + 1
            assert np.isnan(found.log_probability[number])
            continue
        own = scores[column[number]]
        expected = 1 + (scores > own).sum() + ((scores == own).sum() - 1) / 2
        assert found.rank[number] == expected
        reference = own - scores.max() - np.log(np.exp(scores - scores.max()).sum())
        assert found.log_probability[number] == pytest.approx(reference, abs=1e-5)


def test_equal_vectors_tie_wherever_their_blocks_are(monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 640)
    generator = torch.Generator().manual_seed(1)
    items = torch.randn(301, 48, generator=generator)
    twins = [0, 63, 64, 200, 300]
    items[twins] = items[0].clone()
    users = torch.randn(50, 48, generator=generator)
    queries = np.array(twins * 50)
    state = np.repeat(np.arange(50), len(twins))
    found = rank_targets(users, state, items, queries, np.full(queries.size, 301), block_items=64)
    by_user = found.rank.reshape(50, len(twins))
    assert (by_user == by_user[:, :1]).all()
    assert (by_user % 1 == 0).all()  # 1 + higher + 4/2


def window(items=12, launched=None):
    """Three users; the last one's history is longer than a window of 16 events."""
    users = [
        [(1, 0.0), (2, 1.0), (3, 1.0), (4, 30.0)],
        [(5, 10.0)],
        [(item % items, float(item)) for item in range(40)],
    ]
    return examples(users, [[1, 2, 3], [0], [5, 30, 39]], items, launched)


def test_examples_are_ranked_as_by_brute_force_in_float64():
    launched = {11: 12.0, 7: 1000.0}
    found, pool = window(launched=launched), eligible(12, launched, retired=(9,))
    model, catalogue = tiny.recommender(8), tiny.catalogue(12, 8)
    ends = [history_ends(found, "replay", delay, 0) for delay in (0.0, 24.0)]
    results = rank_examples(
        model,
        catalogue,
        found,
        pool,
        [View(found.user, one, found.event_at_us) for one in ends],
        8,
        block_items=5,
        listed=1,
    )
    assert results[0].shown is None
    shown = np.zeros(12, np.int64)
    exact, doubled = tiny.double(tiny.recommender(8), catalogue)
    for result, end in zip(results, ends, strict=True):
        with torch.no_grad():
            users = encode_histories(exact, doubled, found.histories, found.user, end, 8).double()
            vectors = exact.item_vectors(torch.arange(12), doubled)
        scores = (users @ vectors.T).numpy()
        for number in range(found.size):
            hour, own = found.event_at_us[number] / 3.6e9, found.item_index[number]
            rivals = [item for item in range(12) if item != 9 and launched.get(item, -1.0) <= hour]
            has = found.histories.item_index[found.histories.offset[found.user[number]] : end[number]]
            unseen = [item for item in rivals if item not in has]
            if result.shown is not None:
                shown[sorted(rivals, key=lambda item: -scores[number][item])[:10]] += 1
            if own in has:
                assert np.isnan(result.rank_unseen[number])
            elif own not in rivals:
                assert result.rank_unseen[number] == len(unseen) + 1
            else:
                assert result.rank_unseen[number] == 1 + (scores[number][unseen] > scores[number][own]).sum()
            if own not in rivals:
                assert result.rank[number] == len(rivals) + 1
                continue
            assert result.rank[number] == 1 + (scores[number][rivals] > scores[number][own]).sum()
            lse = np.log(np.exp(scores[number][rivals]).sum())
            assert result.log_probability[number] == pytest.approx(scores[number][own] - lse, abs=1e-4)

    assert results[1].shown.tolist() == shown.tolist()


def test_items_with_equal_features_and_no_id_row_tie():
    found = examples([[(3, 0.0), (10, 1.0)]], [[1]], items=12)
    catalogue = tiny.catalogue(12, 8)
    features = {
        name: matrix.index_fill(0, torch.arange(8, 12), 0.0) for name, matrix in catalogue.features.items()
    }
    catalogue = Catalogue(catalogue.item_token, features)
    view = View(found.user, history_ends(found, "replay", 0.0, 0), found.event_at_us)
    (ranking,) = rank_examples(tiny.recommender(8), catalogue, found, eligible(12), [view], 8)
    assert ranking.rank[0] % 1 == 1 / 2  # three others equal


def test_no_more_scores_are_held_at_once_than_a_block(monkeypatch):
    held = []

    def counted(users, items):
        held.append(users.shape[0] * items.shape[0])
        return users @ items.T

    monkeypatch.setattr(ranking, "BLOCK_SCORES", 65_536)
    monkeypatch.setattr(ranking, "score", counted)
    queries = np.arange(600, dtype=np.int64)
    rank_targets(torch.randn(600, 4), queries, torch.randn(3000, 4), queries * 5, np.full(600, 3000), 1024)
    assert max(held) <= 65_536
    # Two passes at most over what the catalogue needs: the targets' own blocks, then all of them.
    assert sum(held) <= 1.5 * 600 * 3072


DELAYS = (0.0, 3.0)
KNOWN, LABEL, LABEL_HOUR = 7, 5, 30.25
PERSON = [(1, 2.0), (2, 20.0), (4, 26.5)]
OTHERS = [[(2, 1.0), (3, 5.0), (4, 9.0), (1, 9.5)], [(4, 12.0), (0, 26.0)]]
Events = list[tuple[int, float]]
"""(item, hour) of one user."""


@pytest.fixture(scope="module")
def reading():
    """A model that reads item signals, pair signals and the time of the request."""
    model = tiny.recommender(
        KNOWN,
        half_lives=len(HALF_LIVES),
        pair_signals=True,
        request_time=True,
        freshness=True,
        output_width=65,
    )
    generator = torch.Generator().manual_seed(5)
    for layer in (
        model.item_term.weights, model.pair_term.weights, model.request.outer, model.freshness.amplitudes,
    ):  # fmt: skip
        torch.nn.init.normal_(layer.weight, std=0.5, generator=generator)
    return model


def asked(model, person: Events, counted: list[Events], chained: list[Events], label_first: bool = False):
    """What one label is ranked at with each delay: rank, log-probability, rank among unseen items.

    `person` are the user's events beside the label, at whose instant the label comes first or last. The
    events of `counted`, of one user each, are in `item_signals`, those of `chained` in `successors`.
    """
    history = sorted([*person, (LABEL, LABEL_HOUR)], key=lambda event: event[1])
    places = [number for number, event in enumerate(history) if event == (LABEL, LABEL_HOUR)]
    found = examples([history], [[places[0 if label_first else -1]]], KNOWN)
    rows = [
        make({f"u{number}": _microseconds(events) for number, events in enumerate(users)}, 0, "c")
        for make, users in ((item_signal_rows, counted), (successor_rows, chained))
    ]
    signals = item_signals.item_signals(_batch(rows[0], ITEM_COLUMNS), KNOWN, HALF_LIVES, BUCKET_US)
    log = successors.successor_log(_batch(rows[1], SUCCESSOR_COLUMNS))
    views, pairs = [], []
    for delay in DELAYS:
        view = View(
            found.user, history_ends(found, "replay", delay, 0), request_times(found, "replay", delay, 0)
        )
        views.append(view)
        requests = Requests(view.user, view.end, view.requested_at_us)
        pairs.append(pair_lists(found.histories, requests, log, KNOWN, BUCKET_US))
    launched = torch.full((KNOWN,), 3600.0, dtype=torch.float64)
    known = tiny.catalogue(KNOWN)
    known = Catalogue(
        known.item_token,
        known.features | {FRESHNESS: launch_features(launched)},
        launched,
        signals=signals,
    )
    return [
        (one.rank[0], one.log_probability[0], one.rank_unseen[0])
        for one in rank_examples(model, known, found, eligible(KNOWN), views, 8, pairs=pairs)
    ]


ITEM_COLUMNS = {
    "item_index": pa.int32(), "bucket_end_us": pa.int64(), "events": pa.int64(), "first_event_at_us": pa.int64(),
    "decayed": pa.list_(pa.float64()), "decayed_high_value": pa.float64(),
}  # fmt: skip
SUCCESSOR_COLUMNS = {
    "item_index": pa.int32(), "event_at_us": pa.int64(), "previous_items": pa.list_(pa.int32()),
}  # fmt: skip


def _microseconds(events: Events) -> list[tuple[int, int, float]]:
    ordered = sorted(events, key=lambda event: event[1])
    return [(item, round(hour * HOUR_US), float(item % 2)) for item, hour in ordered]


def _batch(rows: list[dict], columns: dict[str, pa.DataType]) -> list[pa.RecordBatch]:
    chosen = [{name: row[name] for name in columns} for row in rows]
    return [pa.RecordBatch.from_pylist(chosen, pa.schema(columns))]


def some_events(first: float, last: float, most: int) -> st.SearchStrategy[Events]:
    """Items and hours; the first hour itself is drawn often."""
    hours = st.just(first) | st.floats(first, last, exclude_max=True)
    return st.lists(st.tuples(st.integers(0, KNOWN - 1), hours), max_size=most)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), number=st.sampled_from(range(len(DELAYS))))
def test_events_at_or_after_a_request_change_nothing_of_it(reading, data, number):
    """In the user's own history, in the rows of `item_signals` and in those of `successors`."""
    request = LABEL_HOUR - DELAYS[number]
    person = data.draw(some_events(0.0, request, 20))
    others = data.draw(st.lists(some_events(0.0, request, 8), max_size=3))
    later = some_events(request, LABEL_HOUR + 9, 8)
    own, planted = data.draw(later), data.draw(st.lists(later, max_size=3))
    everybody = [person, *others]
    after = [before + more for before, more in zip_longest(everybody, [own, *planted], fillvalue=[])]
    plain = asked(reading, person, everybody, everybody)[number]
    assert asked(reading, person + own, after, after, data.draw(st.booleans()))[number] == pytest.approx(
        plain, abs=1e-5, nan_ok=True
    )


@pytest.mark.parametrize("place", ["history", "item_signals", "successors"])
@pytest.mark.parametrize("number", range(len(DELAYS)))
def test_an_event_in_an_earlier_bucket_changes_the_request(reading, place, number):
    """So that the test above would notice: each place by itself is read."""
    everybody = [PERSON, *OTHERS]
    hour = LABEL_HOUR - DELAYS[number] - 1.0
    one = [PERSON, [*OTHERS[0], (LABEL, hour)], [*OTHERS[1], (2, hour - 0.5), (LABEL, hour)]]
    plain = asked(reading, PERSON, everybody, everybody)[number]
    changed = asked(
        reading,
        [*PERSON, (LABEL, hour)] if place == "history" else PERSON,
        one if place == "item_signals" else everybody,
        one if place == "successors" else everybody,
    )[number]
    assert abs(changed[1] - plain[1]) > 1e-4


@pytest.mark.parametrize(("hour", "counts"), [(29.99, True), (30.0, False), (30.2, False)])
def test_counts_end_with_the_bucket_before_that_of_the_request(reading, hour, counts):
    everybody = [PERSON, *OTHERS]
    planted = [PERSON, [*OTHERS[0], (LABEL, hour)], OTHERS[1]]
    plain = asked(reading, PERSON, everybody, everybody)[0]
    for signals in ((planted, everybody), (everybody, planted)):
        changed = asked(reading, PERSON, *signals)[0]
        assert (abs(changed[1] - plain[1]) > 1e-4) == counts
