"""Pair lists on disk: each request is counted once, and what is read back is what is counted in memory."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.kept_pairs import INDEX, KeptPairs
from model.data.pair_signals import COLUMNS, Requests, pair_lists, pair_parts
from tests.model.data.test_pair_signals import BUCKET, ITEMS, log_of, user_log

EVENTS = [(user, item, 7 * user + 3 * step) for user in range(4) for step, item in enumerate((1, 4, 2, 5, 3))]
LOG, SUCCESSORS = user_log(EVENTS), log_of(EVENTS)


def requests(*numbers: int) -> Requests:
    """Requests by number: of user n % 4 after n // 4 events."""
    user = np.array([number % 4 for number in numbers], dtype=np.int64)
    end = LOG.offset[user] + np.array([number // 4 for number in numbers], dtype=np.int64)
    return Requests(user, end, np.array([10 + number for number in numbers], dtype=np.int64))


def counted_in_memory(asked: Requests):
    return pair_lists(LOG, asked, SUCCESSORS, ITEMS, BUCKET)


class Count:
    """Counts requests, and which it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, asked: Requests):
        self.asked += list(zip(asked.user.tolist(), asked.end.tolist(), strict=True))
        return partial(pair_parts, LOG, successors=SUCCESSORS, items=ITEMS, bucket_us=BUCKET)(asked)


def assert_same(lists, expected) -> None:
    assert lists.count.tolist() == expected.count.tolist() and lists.pairs == expected.pairs
    for request in range(lists.size):
        own, other = (
            slice(one.first[request], one.first[request] + one.count[request]) for one in (lists, expected)
        )
        for name in COLUMNS:
            assert np.array_equal(getattr(lists, name)[own], getattr(expected, name)[other])


@settings(max_examples=30, deadline=None)
@given(asked=st.lists(st.lists(st.integers(0, 23), max_size=8), min_size=1, max_size=4))
def test_what_is_kept_is_what_is_counted_and_no_request_is_counted_twice(tmp_path_factory, asked):
    folder, count = tmp_path_factory.mktemp("pairs"), Count()
    for numbers in asked:
        wanted = requests(*numbers)
        not_kept = sum(
            (user, end) not in count.asked for user, end in zip(wanted.user, wanted.end, strict=True)
        )
        lists, new = KeptPairs(folder).lists(wanted, count)
        assert new == not_kept
        assert_same(lists, counted_in_memory(wanted))
    assert len(count.asked) == len(set(count.asked))


def test_what_a_killed_run_left_is_overwritten(tmp_path):
    kept, first, second = KeptPairs(tmp_path), requests(8, 9), requests(12, 13, 14)
    kept.lists(first, Count())
    before = (tmp_path / INDEX).read_bytes()

    def killed(asked: Requests):
        for part in Count()(asked):
            yield part
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.lists(second, killed)
    assert (tmp_path / INDEX).read_bytes() == before
    for name in COLUMNS:
        with (tmp_path / name).open("ab") as file:
            file.write(b"torn")
    assert_same(kept.lists(first, Count())[0], counted_in_memory(first))
    assert_same(kept.lists(second, Count())[0], counted_in_memory(second))
    assert_same(kept.lists(first, Count())[0], counted_in_memory(first))


def test_requests_without_a_pair_are_kept_too(tmp_path):
    count, wanted = Count(), Requests(np.array([0]), LOG.offset[:1].copy(), np.array([0]))
    for _ in range(2):
        lists, _ = KeptPairs(tmp_path).lists(wanted, count)
        assert (lists.size, lists.pairs, lists.item_index.size) == (1, 0, 0)
    assert len(count.asked) == 1
    nothing = Requests(*(np.empty(0, np.int64) for _ in range(3)))
    assert KeptPairs(tmp_path / "none").lists(nothing, count)[0].size == 0
