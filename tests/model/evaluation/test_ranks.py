"""The table `ranks`: rows in order, partitions that are not rewritten, and ranks read back."""

from __future__ import annotations

import numpy as np
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from expectations.tables import RANKS, location
from model.evaluation.examples import history_ends
from model.evaluation.metrics import ALL, Group, MetricsError
from model.evaluation.ranking import Ranking
from model.evaluation.ranks import Condition, StoredRanks, rank_rows, ranked_with, write_ranks
from tests.model.window_of import eligible, examples

REPLAY, DELAYED = Condition("replay", 0.0), Condition("replay", 48.0)


def rows(model="candidate", ranks=(1.0, 2.0, 5.0), digest="d", conditions=(DELAYED, REPLAY)):
    """Two users; the first one's labels are 1 h and 50 h after its first event."""
    window = examples([[(0, 0.0), (1, 1.0), (1, 50.0)], [(2, 3.0)]], [[1, 2], [0]], items=4)
    ranking = Ranking(np.array(ranks), np.array([-1.0, -2.0, np.nan]))
    parts = [
        (condition, history_ends(window, condition.protocol, condition.delay_hours, 0), ranking)
        for condition in conditions
    ]
    return rank_rows("now", model, digest, window, eligible(4), parts)


def test_rows_are_in_order_of_the_key_with_tasks_and_slices():
    table = rows()
    keys = [tuple(row[name] for name in RANKS.key) for row in table.to_pylist()]
    assert keys == sorted(keys) and len(set(keys)) == 6
    first, second, third = table.slice(0, 3).to_pylist()
    assert (first["history_length"], first["tasks"], first["slices"]) == (1, ["B"], [])
    assert (second["history_length"], second["tasks"]) == (2, ["A"])
    assert (third["tasks"], third["slices"], third["log_probability"]) == ([], ["new_user"], None)
    delayed = table.slice(3, 3).to_pylist()
    assert [row["slices"] for row in delayed] == [["new_user"], [], ["new_user"]]
    assert [row["history_length"] for row in delayed] == [0, 2, 0]


def test_the_same_rows_are_not_written_again_and_other_models_stay(tmp_path):
    lake = str(tmp_path)
    first = write_ranks(rows(), lake, "s", "now", "candidate")
    assert write_ranks(rows(), lake, "s", "now", "candidate") == first
    second = write_ranks(rows("markov"), lake, "s", "now", "markov")
    third = write_ranks(rows(ranks=(3.0, 3.0, 3.0)), lake, "s", "now", "candidate")
    assert first < second < third
    stored = StoredRanks.read(lake, "s", "now", third)
    assert set(stored.rows["model"].to_pylist()) == {"candidate", "markov"}
    ranked = stored.examples(REPLAY, ("candidate", "markov"))
    assert ranked.rank["candidate"].tolist() == [3, 3, 3]
    assert ranked.rank["markov"].tolist() == [1, 2, 5]
    assert set(StoredRanks.read(lake, "s", "now", first).rows["model"].to_pylist()) == {"candidate"}


def test_the_table_has_the_contracts_schema_and_constraints(tmp_path):
    lake = str(tmp_path)
    write_ranks(rows(), lake, "s", "now", "candidate")
    table = DeltaTable(location(lake, "s", "ranks"))
    assert table.metadata().partition_columns == list(RANKS.partitions)
    assert [field.name for field in table.schema().fields] == list(RANKS.column_names)
    nullable = [field.name for field in table.schema().fields if field.nullable]
    assert nullable == ["log_probability", "rank_unseen", "label_events"]
    with pytest.raises(DeltaError, match="validation check"):
        write_ranks(rows(ranks=(0.5, 1.0, 1.0)), lake, "s", "now", "candidate")
    with pytest.raises(DeltaError, match="validation check"):
        write_ranks(rows(ranks=(6.0, 1.0, 1.0)), lake, "s", "now", "candidate")


def test_ranks_are_read_back_by_user_task_and_slice(tmp_path):
    version = write_ranks(rows(), str(tmp_path), "s", "now", "candidate")
    stored = StoredRanks.read(str(tmp_path), "s", "now", version)
    ranked = stored.examples(REPLAY, ("candidate",))
    assert ranked.user.tolist() == [0, 0, 1]
    assert {group: member.tolist() for group, member in ranked.groups.items()} == {
        ALL: [True, True, True],
        Group("task", "A"): [False, True, False],
        Group("task", "B"): [True, False, False],
        Group("slice", "new_user"): [False, False, True],
    }
    assert np.isnan(ranked.log_probability["candidate"]).tolist() == [False, False, True]
    assert stored.has_history(DELAYED, "candidate").tolist() == [False, True, False]


def test_models_without_ranks_or_with_other_examples_are_refused(tmp_path):
    lake = str(tmp_path)
    write_ranks(rows(), lake, "s", "now", "candidate")
    version = write_ranks(rows("markov").slice(1), lake, "s", "now", "markov")
    stored = StoredRanks.read(lake, "s", "now", version)
    with pytest.raises(MetricsError, match="champion has no ranks"):
        stored.examples(REPLAY, ("candidate", "champion"))
    with pytest.raises(MetricsError, match="not ranked on the same examples"):
        stored.examples(REPLAY, ("candidate", "markov"))


def test_ranks_are_kept_for_the_same_digest_only(tmp_path):
    lake = str(tmp_path)
    assert ranked_with(lake, "s", "now", "candidate", "d") is None
    version = write_ranks(rows(), lake, "s", "now", "candidate")
    assert ranked_with(lake, "s", "now", "candidate", "d") == version
    assert ranked_with(lake, "s", "now", "candidate", "other") is None
    assert ranked_with(lake, "s", "now", "markov", "d") is None


def test_a_table_from_before_a_column_was_added_is_read_and_written(tmp_path):
    lake = str(tmp_path)
    whole = rows()
    older = whole.drop_columns(["rank_unseen", "label_events"])
    address = location(lake, "s", "ranks")
    write_deltalake(address, older, partition_by=list(RANKS.partitions))
    (condition,) = {Condition(row["protocol"], row["delay_hours"]) for row in older.slice(0, 1).to_pylist()}
    before = StoredRanks.read(lake, "s", "now", 0).examples(condition, ("candidate",))
    assert np.isnan(before.rank_unseen["candidate"]).all() and np.isnan(before.label_events).all()
    assert write_ranks(whole, lake, "s", "now", "candidate") == 1
    after = StoredRanks.read(lake, "s", "now", 1)
    assert after.rows["label_events"].null_count == 0
    order = [(name, "ascending") for name in ("user_id", "position", "protocol", "delay_hours")]
    assert after.rows.select(older.column_names).sort_by(order) == older.sort_by(order)
    assert write_ranks(whole, lake, "s", "now", "candidate") == 1
