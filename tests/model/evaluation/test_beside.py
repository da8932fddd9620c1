"""What is gathered beside ranks: seen items above the label, and lists, over several blocks."""

from __future__ import annotations

import numpy as np
import torch

from model.evaluation.beside import Beside
from model.evaluation.seen import SeenItems
from tests.model.window_of import histories

ITEMS = 12


def gathered(width: int, listed: tuple[bool, ...] = (True, False, True)) -> Beside:
    """Three queries of a user with the items 1, 4 and 11. Their labels are item 0, item 4 and an item that is
    not eligible; item 11 is not eligible for the first. A later item scores higher, items 4 and 0 equal."""
    history = histories([[(1, 0.0), (4, 1.0), (11, 2.0)]], [[]])
    seen = SeenItems.of(history, np.zeros(3, np.int64), np.full(3, 3))
    own, size = np.array([0, 4, 12]), np.array([11, 12, 12])
    beside = Beside(seen, np.arange(ITEMS + 1), own, size, np.array(listed))
    scores = torch.arange(float(ITEMS)).expand(3, ITEMS).clone()
    scores[:, 4] = 0.0
    scores[0, 11] = -torch.inf
    target = torch.tensor([0.0, 0.0, 0.0])
    beside.begin(np.arange(3), scores.device)
    for begin in range(0, ITEMS, width):
        beside.block(scores[:, begin : begin + width], target, begin)
    beside.end()
    return beside


def test_seen_items_above_the_label_leave_its_rank_and_a_label_that_is_seen_has_none():
    for width in (12, 5, 1):
        ranks = gathered(width).rank_unseen(np.array([11.5, 10.5, 13.0]))
        # The first: items 1 (above) and 4 (equal) go. The third: ten of the twelve less three, plus one.
        assert ranks.tolist()[0] == 11.5 - 1.5 and np.isnan(ranks[1])
        assert ranks[2] == 12 - 3 + 1


def test_lists_hold_the_ten_best_eligible_items_of_the_chosen_queries():
    for width in (12, 5, 1):
        shown = gathered(width).shown(np.arange(ITEMS), ITEMS + 1)
        # The best ten of items 0 to 10: one of the equal ones, 0 and 4, is left out. Of all twelve: both are.
        assert shown[[1, 2, 3, 5, 6, 7, 8, 9, 10]].tolist() == [2] * 9
        assert shown[11] == 1 and shown[[0, 4]].sum() == 1 and shown.sum() == 20
    assert gathered(5, (False,) * 3).shown(np.arange(ITEMS), ITEMS + 1).sum() == 0
