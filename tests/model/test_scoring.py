"""Plain records in, recommendations out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from model.batch import Catalogue
from model.config import ModelConfig
from model.recommender import Recommender
from model.scoring import HistoryError, Meaning, Scorer, write_serving_folder

CONFIG = ModelConfig(
    size="25k",
    item_width=16,
    output_width=32,
    modalities=(("language", 8),),
    actions=2,
    context_fields=("country",),
    context_buckets=32,
    max_length=8,
)
NOON = "2024-01-01T12:00:00"


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """Ten items a to j; the first seven in the vocabulary, j launched in 2025, i retired."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("serving")
    token = torch.tensor([0, 1, 2, 3, 4, 5, 6, -1, -1, -1])
    catalogue = Catalogue(token, {"language": torch.randn(10, 8)})
    save_file(Recommender(CONFIG, 7).state_dict(), folder / "weights.safetensors")
    late = int(np.datetime64("2025-01-01", "us").astype(np.int64))
    items = pa.table(
        {
            "item_id": list("abcdefghij"),
            "title": [f"Title {name}" for name in "abcdefghij"],
            "launched_at_us": pa.array([None] * 9 + [late], pa.int64()),
            "retired": [False] * 8 + [True, False],
        }
    )
    meaning = Meaning("log", "2024-01-01", ("view", "play"), (0.0, 1.0), 4)
    write_serving_folder(
        folder / "serving", folder / "weights.safetensors", CONFIG, catalogue, items, meaning
    )
    return Scorer(folder / "serving")


def test_top_k_is_the_k_best_of_the_whole_ranking(scorer):
    history = [{"item_id": "a", "event_at": NOON, "action": "play", "country": "NL"}]
    (whole,) = scorer.recommend([history], k=100)
    (best,) = scorer.recommend([history], k=3)
    assert len(whole.items) == 9 and whole.scores == sorted(whole.scores, reverse=True)
    assert best.items == whole.items[:3] and best.titles[0] == f"Title {best.items[0]}"
    assert len(best.user_vector) == CONFIG.output_width


def test_an_item_is_a_candidate_from_its_launch_on_and_a_retired_one_never(scorer):
    (before,) = scorer.recommend([[]], k=10, as_of="2024-06-01")
    (after,) = scorer.recommend([[]], k=10, as_of="2025-06-01")
    assert "j" not in before.items and "j" in after.items
    assert "i" not in after.items


def test_the_order_of_records_does_not_matter_and_their_times_do(scorer):
    early = {"item_id": "a", "event_at": NOON}
    late = {"item_id": "b", "event_at": "2024-01-01T13:00:00"}
    one, other = scorer.recommend([[early, late], [late, early]])
    assert one.items == other.items
    np.testing.assert_allclose(one.user_vector, other.user_vector, rtol=1e-5, atol=1e-6)
    (swapped,) = scorer.recommend([[{**early, "event_at": late["event_at"]}, {**late, "event_at": NOON}]])
    assert swapped.user_vector != one.user_vector


def test_a_history_is_scored_alike_alone_and_beside_others(scorer):
    short, long = [{"item_id": "c", "event_at": NOON}], [{"item_id": i, "event_at": NOON} for i in "abcdefg"]
    (alone,) = scorer.recommend([short])
    beside, _ = scorer.recommend([short, long])
    assert beside.items == alone.items
    np.testing.assert_allclose(beside.scores, alone.scores, rtol=1e-5, atol=1e-6)


def test_an_unknown_item_is_left_out_and_counted(scorer):
    (known,) = scorer.recommend([[{"item_id": "a", "event_at": NOON}]])
    (mixed,) = scorer.recommend([[{"item_id": "a", "event_at": NOON}, {"item_id": "zzz", "event_at": NOON}]])
    assert mixed.unknown_items == 1 and mixed.items == known.items


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"event_at": NOON}, "history 0, record 0 has no item_id"),
        ({"item_id": "a"}, "no event_at"),
        ({"item_id": "a", "event_at": "noon"}, "not ISO 8601"),
        ({"item_id": "a", "event_at": NOON, "action": "eat"}, "allowed are view, play"),
    ],
)
def test_a_record_that_cannot_be_read_is_told(scorer, record, told):
    with pytest.raises(HistoryError, match=told):
        scorer.recommend([[record]])
