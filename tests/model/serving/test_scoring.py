"""Recommendations for histories given as plain records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from expectations.instants import parse_microseconds
from model.config import FRESHNESS, FRESHNESS_WIDTH, ModelConfig
from model.data.cycle_items import CycleItems
from model.data.histories import Histories
from model.data.item_signals import item_signals
from model.data.items import UNKNOWN_LAUNCH, Items
from model.data.pair_signals import Requests, pair_lists, pairs_of
from model.data.signals import Signals
from model.data.vocabulary import Vocabulary
from model.network.batch import Batch
from model.network.catalogue import Catalogue
from model.network.freshness import launch_features
from model.network.recommender import Recommender
from model.serving.encoding import encode_histories
from model.serving.records import instant
from model.serving.scoring import HistoryError, Meaning, Scorer, write_serving_folder
from tests.model.data.test_successors import batch_log

CONFIG = ModelConfig(
    size="25k",
    item_width=16,
    output_width=32,
    modalities=(("language", 8),),
    actions=2,
    context_fields=("country", "position"),
    context_buckets=32,
    max_length=8,
)
NOON = "2024-01-01T12:00:00"
CUTOFF_US = parse_microseconds("2024-01-02")
HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """Ten items a to j: the first seven in the vocabulary, i retired, j launched in 2025."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("serving")
    token = torch.tensor([0, 1, 2, 3, 4, 5, 6, -1, -1, -1])
    catalogue = Catalogue(token, {"language": torch.randn(10, 8)})
    save_file(Recommender(CONFIG, 7).state_dict(), folder / "weights.safetensors")
    late = parse_microseconds("2025-01-01")
    names = list("abcdefghij")
    items = Items(
        pa.array(names),
        pa.array([f"Title {name}" for name in names]),
        np.array([UNKNOWN_LAUNCH] * 9 + [late]),
    )
    known = Vocabulary(token.numpy(), np.zeros(10, np.int64), np.array([False] * 8 + [True, False]))
    meaning = Meaning("log", "2024-01-01", ("view", "play"), (0.0, 1.0), 4, CUTOFF_US)
    cycle = CycleItems(items, known, catalogue)
    write_serving_folder(folder / "serving", folder / "weights.safetensors", CONFIG, cycle, meaning)
    return Scorer(folder / "serving")


def test_the_k_best_items_lead_the_whole_ranking(scorer):
    history = [{"item_id": "a", "event_at": NOON, "action": "play", "country": "NL"}]
    (whole,) = scorer.recommend([history], k=100)
    (best,) = scorer.recommend([history], k=3)
    assert len(whole.items) == 9 and whole.scores == sorted(whole.scores, reverse=True)
    assert best.items == whole.items[:3] and best.titles[0] == f"Title {best.items[0]}"
    assert len(best.user_vector) == CONFIG.output_width


def test_an_item_is_eligible_from_its_launch_on_and_a_retired_one_never(scorer):
    (before,) = scorer.recommend([[]], k=10, as_of="2024-06-01")
    (after,) = scorer.recommend([[]], k=10, as_of="2025-06-01")
    assert "j" not in before.items and "j" in after.items
    assert "i" not in after.items


def test_the_order_of_records_does_not_matter_and_their_times_do(scorer):
    early = {"item_id": "a", "event_at": NOON}
    late = {"item_id": "b", "event_at": "2024-01-01T13:00:00"}
    ordered, reversed_ = scorer.recommend([[early, late], [late, early]])
    assert ordered.items == reversed_.items
    np.testing.assert_allclose(ordered.user_vector, reversed_.user_vector, rtol=1e-5, atol=1e-6)
    (swapped,) = scorer.recommend([[{**early, "event_at": late["event_at"]}, {**late, "event_at": NOON}]])
    assert swapped.user_vector != ordered.user_vector


def test_a_history_is_scored_the_same_alone_and_with_others(scorer):
    short, long = [{"item_id": "c", "event_at": NOON}], [{"item_id": i, "event_at": NOON} for i in "abcdefg"]
    (alone,) = scorer.recommend([short])
    beside, _ = scorer.recommend([short, long])
    assert beside.items == alone.items
    np.testing.assert_allclose(beside.scores, alone.scores, rtol=1e-5, atol=1e-6)


def encoded(scorer, codes: dict[str, list[int]]) -> list[float]:
    """The user vector of stored events, one per minute from noon, as evaluation encodes them."""
    events = len(codes["item_index"])
    noon = parse_microseconds(NOON)
    zeros = np.zeros(events, np.int64)
    stored = {name: np.array(values, np.int64) for name, values in codes.items()}
    histories = Histories(
        user_id=np.array(["u"], object),
        offset=np.array([0, events]),
        first_position=np.zeros(1, np.int64),
        item_index=stored["item_index"],
        action=zeros,
        event_at_us=noon + 60_000_000 * np.arange(events),
        reward=np.zeros(events, np.float32),
        context={name: stored.get(name, zeros) for name in CONFIG.context_fields},
        label=np.empty(0, np.int64),
    )
    user, end = np.zeros(1, np.int64), np.array([events])
    with torch.inference_mode():
        vectors = encode_histories(scorer.recommender, scorer.catalogue, histories, user, end, 4)
    return vectors[0].tolist()


def minutes(items: str, **fields) -> list[dict]:
    """One record per minute from noon."""
    return [
        {"item_id": item, "event_at": f"2024-01-01T12:{number:02}:00", **fields}
        for number, item in enumerate(items)
    ]


def test_a_history_longer_than_the_limit_is_encoded_as_in_evaluation(scorer):
    # With windows of 8 events of which 4 are repeated, the last of 12 is in the window of the last 8.
    items = "abcdefgabcde"
    index = [scorer.index[item] for item in items]
    (served,) = scorer.recommend([minutes(items)])
    np.testing.assert_allclose(served.user_vector, encoded(scorer, {"item_index": index}), atol=1e-6)
    capped = scorer._tokens([minutes(items)])[0]
    assert capped.first_position.tolist() == [4] and capped.item_index[:8].tolist() == index[4:]


def test_a_history_as_long_as_the_limit_keeps_its_beginning(scorer):
    index = [scorer.index[item] for item in "abcdefga"]
    (served,) = scorer.recommend([minutes("abcdefga")])
    np.testing.assert_allclose(served.user_vector, encoded(scorer, {"item_index": index}), atol=1e-6)
    assert scorer._tokens([minutes("abcdefga")])[0].first_position.tolist() == [0]


@pytest.mark.parametrize("position", [3, "3", 3.0])
def test_a_position_has_the_code_of_training(scorer, position):
    (served,) = scorer.recommend([minutes("a", position=position)])
    stored = encoded(scorer, {"item_index": [scorer.index["a"]], "position": [1 + 3]})
    np.testing.assert_allclose(served.user_vector, stored, atol=1e-6)


def test_an_unknown_item_is_ignored_and_counted(scorer):
    (known,) = scorer.recommend([[{"item_id": "a", "event_at": NOON}]])
    (mixed,) = scorer.recommend([[{"item_id": "a", "event_at": NOON}, {"item_id": "zzz", "event_at": NOON}]])
    assert mixed.unknown_items == 1 and mixed.items == known.items


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"event_at": NOON}, "history 0, record 0 has no item_id"),
        ({"item_id": "a"}, "no event_at"),
        (
            {"item_id": "a", "event_at": "noon"},
            "record 0 has the time 'noon'; allowed is ISO 8601 text or seconds",
        ),
        ({"item_id": "a", "event_at": float("nan")}, "has the time nan; allowed is ISO 8601 text or seconds"),
        ({"item_id": "a", "event_at": NOON, "action": "eat"}, "allowed are view, play"),
        ({"item_id": "a", "event_at": NOON, "position": "top"}, "record 0: position is 'top'; allowed"),
        ({"item_id": "a", "event_at": NOON, "position": 3.5}, "allowed is a whole number"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(scorer, record, message):
    with pytest.raises(HistoryError, match=message):
        scorer.recommend([[record]])


def test_times_before_1970_are_exact():
    assert instant("1969-12-31T23:59:59.25", "record 0") == -750_000
    assert instant("0001-01-01T00:00:00.000001", "record 0") == -62_135_596_799_999_999
    assert instant(-0.25, "record 0") == -250_000


@pytest.mark.parametrize(
    ("options", "message"), [({"k": 0}, "k must be at least 1"), ({"as_of": "now"}, "as_of has")]
)
def test_a_bad_argument_is_refused(scorer, options, message):
    with pytest.raises(HistoryError, match=message):
        scorer.recommend([[]], **options)


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """The same ten items, a model with signals, and 40 events of 4 users up to the cutoff."""
    return with_signals(tmp_path_factory.mktemp("timed"), CONFIG, "abcdefghij")


@pytest.fixture(scope="module")
def dated(tmp_path_factory):
    """As `timed`, with freshness, and an item k that was launched before the cutoff and never seen."""
    width = CONFIG.output_width + FRESHNESS_WIDTH
    config = CONFIG.model_copy(update={"freshness": True, "output_width": width})
    return with_signals(tmp_path_factory.mktemp("dated"), config, "abcdefghijk")[0]


LAUNCH = "2023-12-20"


def with_signals(folder, config: ModelConfig, names: str):
    """A scorer, its model, catalogue and signals. The first ten items have events and are in the vocabulary, the
    others were launched at LAUNCH."""
    torch.manual_seed(4)
    config = config.model_copy(update={"half_lives": 2, "pair_signals": True, "request_time": True})
    total = len(names)
    token = torch.where(torch.arange(total) < 10, torch.arange(total), -1)
    launched = np.where(np.arange(total) < 10, UNKNOWN_LAUNCH, parse_microseconds(LAUNCH))
    features = {"language": torch.randn(total, 8)}
    if config.freshness:
        seconds = np.where(launched == UNKNOWN_LAUNCH, np.nan, launched / 1e6)
        features[FRESHNESS] = launch_features(torch.from_numpy(seconds))
    catalogue = Catalogue(token, features)
    model = Recommender(config, 10)
    for term in (model.item_term, model.pair_term):
        torch.nn.init.normal_(term.weights.weight, std=0.5)
    if config.freshness:
        torch.nn.init.normal_(model.freshness.amplitudes.weight)
        torch.nn.init.normal_(model.item_tower.out_of_vocabulary)
    save_file(model.state_dict(), folder / "weights.safetensors")
    items = Items(pa.array(list(names)), pa.array([None] * total, pa.string()), launched)
    known = Vocabulary(token.numpy(), np.zeros(total, np.int64), np.zeros(total, dtype=bool))
    states, rows = [], []
    for number in range(40):
        at = CUTOFF_US - (41 - number) * HOUR_US
        item, user = number * 7 % 10, number % 4
        states.append((item, at + HOUR_US, 1 + number // 10, CUTOFF_US - 41 * HOUR_US, [1.0, 2.0], 0.5))
        previous = [earlier * 7 % 10 for earlier in range(number - 4, -1, -4) if earlier % 4 == user]
        if previous:
            rows.append((item, at, previous[:3]))
    columns = {
        "item_index": pa.int32(), "bucket_end_us": pa.int64(), "events": pa.int64(), "first_event_at_us": pa.int64(),
        "decayed": pa.list_(pa.float64()), "decayed_high_value": pa.float64(),
    }  # fmt: skip
    batch = pa.record_batch(
        {
            name: pa.array(column, columns[name])
            for name, column in zip(columns, zip(*states, strict=True), strict=True)
        }
    )
    signals = Signals(item_signals([batch], total, (0.1, 1.0), HOUR_US), batch_log(rows))
    meaning = Meaning("log", "c", ("view", "play"), (0.0, 1.0), 4, CUTOFF_US, (0.1, 1.0), HOUR_US)
    cycle = CycleItems(items, known, catalogue)
    write_serving_folder(folder / "serving", folder / "weights.safetensors", config, cycle, meaning, signals)
    return Scorer(folder / "serving"), model.eval(), catalogue, signals


HISTORY = [
    {"item_id": "a", "event_at": "2024-01-01T09:00:00", "action": "play"},
    {"item_id": "h", "event_at": "2024-01-01T10:00:00", "action": "view"},
]


@pytest.mark.parametrize("as_of", ["2024-01-01T20:30:00", "2024-03-01", None])
def test_served_scores_are_those_that_evaluation_ranks_by(timed, as_of):
    scorer, model, catalogue, signals = timed
    (answer,) = scorer.recommend([HISTORY], k=10, as_of=as_of)
    at = CUTOFF_US if as_of is None else parse_microseconds(as_of)
    batch, pairs, users = _as_evaluated(scorer, model, signals, at)
    dated = Catalogue(
        catalogue.item_token,
        catalogue.features,
        torch.full((10,), torch.nan, dtype=torch.float64),
        None,
        signals.items,
    )
    with torch.inference_mode():
        everything = torch.arange(10)
        asked = replace(batch, label_at_seconds=torch.tensor([at / 1e6], dtype=torch.float64), pairs=pairs)
        scores = model.request_scores(users, asked, dated, everything, model.item_vectors(everything, dated))[
            0
        ]
    expected = sorted(zip("abcdefghij", scores.tolist(), strict=True), key=lambda pair: -pair[1])
    assert answer.items == [name for name, _ in expected]
    assert answer.scores == pytest.approx([value for _, value in expected], abs=1e-5)


def _as_evaluated(scorer, model, signals, at):
    """The request's batch, pairs and user vector, computed as the evaluation does."""
    tokens, _, _ = scorer._tokens([HISTORY])
    user, end = np.zeros(1, np.int64), tokens.offset[1:]
    with torch.inference_mode():
        users = encode_histories(model, scorer.catalogue, tokens, user, end, 4, np.array([at]))
    lists = pair_lists(tokens, Requests(user, end, np.array([at])), signals.successors, 10, HOUR_US)
    nothing = np.zeros((1, 1), np.int64)
    pairs = pairs_of(lists, np.zeros(1, np.int64), nothing, nothing > 0, 2)
    none = torch.empty(0)
    batch = Batch(none, none, none, none, none, none, none, none, torch.zeros(1, dtype=torch.int64),
                  torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1))  # fmt: skip
    return batch, pairs, users


def test_requests_at_different_times_in_one_call_are_each_answered_as_alone(timed):
    scorer = timed[0]
    later = [{**HISTORY[0], "event_at": "2024-02-01T09:00:00"}]
    together = scorer.recommend([HISTORY, later, []], k=10)
    alone = [scorer.recommend([history], k=10)[0] for history in (HISTORY, later, [])]
    for one, other in zip(together, alone, strict=True):
        assert one.items == other.items
        assert one.scores == pytest.approx(other.scores, rel=1e-5, abs=1e-5)


def test_items_of_the_history_can_be_excluded(timed):
    (answer,) = timed[0].recommend([HISTORY], k=10, exclude_seen=True)
    assert len(answer.items) == 8 and not {"a", "h"} & set(answer.items)


def new_k(scorer, **fields) -> dict:
    """A new item with all that is known of the cold item k."""
    vector = scorer.catalogue.features["language"][scorer.index["k"]].tolist()
    return {"item_id": "new", "launched_at": LAUNCH, "features": {"language": vector}} | fields


SOME_K = [*HISTORY, {"item_id": "k", "event_at": "2024-01-01T11:00:00"}]


@pytest.mark.parametrize("as_of", ["2024-01-01T20:30:00", "2024-03-01", None])
@pytest.mark.parametrize("history", [[], HISTORY, SOME_K])
def test_a_new_item_is_scored_as_a_cold_item_with_its_features_and_launch(dated, as_of, history):
    renamed = [{**record, "item_id": record["item_id"].replace("k", "new")} for record in history]
    (cold,) = dated.recommend([history], k=20, as_of=as_of)
    (new,) = dated.recommend([renamed], k=20, as_of=as_of, new_items=[new_k(dated)])
    expected, found = (dict(zip(one.items, one.scores, strict=True)) for one in (cold, new))
    assert new.user_vector == cold.user_vector and new.unknown_items == 0
    assert found["new"] == pytest.approx(expected["k"], rel=1e-6, abs=1e-6)
    if history is not SOME_K:  # else k itself is in one of the two histories alone
        assert found["new"] == pytest.approx(found["k"], rel=1e-6, abs=1e-6)
        for item, value in expected.items():
            assert found[item] == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_a_new_item_is_known_in_its_call_alone(dated):
    (before,) = dated.recommend([SOME_K], k=20)
    record = {"item_id": "new", "event_at": "2024-01-01T11:30:00"}
    (new,) = dated.recommend([[*SOME_K, record]], k=20, new_items=[new_k(dated, title="New")])
    assert dict(zip(new.items, new.titles, strict=True))["new"] == "New" and len(new.items) == 12
    (after,) = dated.recommend([SOME_K], k=20)
    assert after == before and len(after.items) == 11
    (unknown,) = dated.recommend([[*SOME_K, record]], k=20)
    assert unknown.unknown_items == 1 and unknown.items == before.items


def test_of_a_new_item_a_name_is_enough(scorer, dated):
    for one in (scorer, dated):
        (answer,) = one.recommend([HISTORY], k=20, new_items=[{"item_id": 17, "features": None}])
        assert "17" in answer.items and np.isfinite(answer.scores).all()


def test_a_new_item_is_eligible_from_its_launch_on(dated):
    late = new_k(dated, launched_at="2024-02-01")
    for as_of, is_eligible in (("2024-01-20", False), ("2024-02-01", True), (None, True)):
        (answer,) = dated.recommend([HISTORY], k=20, as_of=as_of, new_items=[late])
        assert ("new" in answer.items) == is_eligible


def test_new_items_of_a_history_can_be_excluded(dated):
    record = {"item_id": "new", "event_at": NOON}
    (answer,) = dated.recommend([[record]], k=20, exclude_seen=True, new_items=[new_k(dated)])
    assert answer.items and "new" not in answer.items


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"title": "New"}, "new item 1 has no item_id"),
        ({"item_id": "a"}, "new item 1 is 'a', which this version knows; allowed are items that it does not"),
        ({"item_id": "x"}, "new item 1 is 'x', as is new item 0; allowed is each once"),
        ({"item_id": "y", "launched_at": "soon"}, "new item 1 has the time 'soon'; allowed is ISO 8601 text"),
        ({"features": {"graph": [1.0]}}, "new item 1 has the feature 'graph'; allowed are language"),
        ({"features": {"language": [1.0] * 7}}, "1 has language of 7 numbers; allowed are 8 finite numbers"),
        ({"features": {"language": [[1.0] * 8]}}, r"1 has language of the shape \(1, 8\); allowed are 8"),
        ({"features": {"language": 3.0}}, r"1 has language of the shape \(\); allowed are 8 finite numbers"),
        ({"features": {"language": ["a"] * 8}}, "has language that is no list of numbers; allowed are 8"),
        ({"features": {"language": [1e300] * 8}}, "has language with a number that is not finite; allowed"),
        ({"features": {"language": [float("nan")] * 8}}, "has language with a number that is not finite"),
    ],
)
def test_a_new_item_that_cannot_be_read_is_refused(scorer, record, message):
    if "features" in record:
        record = {"item_id": "y", **record}
    with pytest.raises(HistoryError, match=message):
        scorer.recommend([[]], new_items=[{"item_id": "x"}, record])
