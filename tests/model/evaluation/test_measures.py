"""Measures from ranks alone, checked by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from model.config import EvaluationConfig
from model.evaluation import measures
from model.evaluation.examples import history_ends
from model.evaluation.figures import Estimate
from model.evaluation.ranking import Ranking
from model.evaluation.ranks import Condition, StoredRanks, rank_rows, write_ranks
from tests.model.window_of import eligible, examples

CONFIG = EvaluationConfig(bootstrap_samples=100, hits_at=(1,))
NOW, LATER = measures.conditions(CONFIG)[:2]


@pytest.fixture
def stored(tmp_path) -> StoredRanks:
    """Two users with two labels each; only the second label of the first has a history at 48 h."""
    users = [[(0, 0.0), (1, 1.0), (1, 50.0)], [(2, 3.0), (2, 4.0)]]
    window = examples(users, [[1, 2], [0, 1]], items=4)
    version = 0
    for model, by_delay in {"candidate": (1.0, 2.0), "markov": (2.0, 2.0)}.items():
        parts = [
            (
                condition,
                history_ends(window, condition.protocol, condition.delay_hours, 0),
                Ranking(np.full(4, rank), np.full(4, -1.0)),
            )
            for condition, rank in zip((NOW, LATER), by_delay, strict=True)
        ]
        rows = rank_rows("now", model, "d", window, eligible(4), parts)
        version = write_ranks(rows, str(tmp_path), "s", "now", model)
    return StoredRanks.read(str(tmp_path), "s", "now", version)


def test_the_first_delay_is_judged_and_the_cutoff_protocol_comes_last():
    assert measures.conditions(CONFIG) == [
        Condition("replay", 0.0),
        Condition("replay", 48.0),
        Condition("cutoff", 0.0),
    ]
    assert measures.judged(CONFIG) == Condition("replay", 0.0)


def test_every_model_and_group_has_a_row_and_the_first_model_its_differences(stored):
    measured = measures.measures(stored, [NOW, LATER], ("candidate", "markov"), CONFIG)
    assert measured.mrr == {"candidate": 1, "markov": 1 / 2}
    rows = {(row.model, row.delay_hours, row.kind, row.group): row for row in measured.metrics}
    assert len(rows) == len(measured.metrics)
    whole = rows["candidate", 0.0, "all", "all"]
    assert measured.metrics[0] == whole and whole.condition == ("replay", 0.0)
    assert (whole.examples, whole.users) == (4, 2)
    assert whole.values["mrr"] == whole.values["hit_rate@1"] == Estimate(1, 1, 1)
    assert rows["markov", 0.0, "task", "A"].values["mrr"].value == 1 / 2
    assert rows["candidate", 0.0, "slice", "new_user"].examples == 1
    difference = next(row for row in measured.differences if row.group == "all" and row.delay_hours == 0)
    assert (difference.model, difference.against) == ("candidate", "markov")
    assert difference.relative == pytest.approx((1, 1, 1), abs=1e-6)
    assert difference.relative.is_significant
    assert (difference.lower_bound, difference.upper_bound) == pytest.approx((1, 1), abs=1e-6)


def test_what_is_not_a_number_is_none(stored):
    """The yardstick gives no probability, and so has no test loss."""
    rows = stored.rows.to_pylist()
    for row in rows:
        row["log_probability"] = None if row["model"] == "markov" else row["log_probability"]
    without = StoredRanks(pa.Table.from_pylist(rows, schema=stored.rows.schema))
    measured = measures.measures(without, [NOW], ("candidate", "markov"), CONFIG)
    losses = {row.model: row.values["test_loss"] for row in measured.metrics if row.group == "all"}
    assert losses == {"candidate": Estimate(1, 1, 1), "markov": Estimate(None, None, None)}


def test_delay_curves_use_the_examples_with_a_history_at_the_largest_delay(stored):
    curves = measures.delay_curves(stored, [NOW, LATER], ("candidate",), CONFIG)
    whole = next(curve for curve in curves if curve.kind == "all")
    assert (whole.examples, whole.share) == (1, 1 / 4)
    now, later = whole.points
    assert (now.delay_hours, later.delay_hours) == (0, 48)
    assert now.mrr.value == 1 and later.mrr.value == 1 / 2
    assert later.relative.value == pytest.approx(-1 / 2)
    assert {curve.group for curve in curves} == {"all", "A"}


def test_one_delay_makes_no_curve(stored):
    assert measures.delay_curves(stored, [NOW], ("candidate",), CONFIG) == []
