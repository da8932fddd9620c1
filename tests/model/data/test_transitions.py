"""How often one item follows another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from expectations.tables import location
from model.data import transitions
from model.data.transitions import read_transitions


def test_each_pair_of_consecutive_events_counts_once_across_chunks(tmp_path):
    # One user's history 0 1 2 2 in two chunks that share the event of item 1; another cycle beside.
    rows = pa.table(
        {
            "cycle": ["now", "now", "before"],
            "item_index": pa.array([[0, 1], [1, 2, 2], [3, 3]], pa.list_(pa.int32())),
            "loss_start": pa.array([0, 1, 0], pa.int32()),
        }
    )
    write_deltalake(location(str(tmp_path), "s", "sequences"), rows, partition_by=["cycle"])
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 2] = expected[2, 2] = 1
    assert (read_transitions(str(tmp_path), "s", "now", 0, 4).toarray() == expected).all()
    assert read_transitions(str(tmp_path), "s", "later", 0, 4).nnz == 0


def test_pairs_are_counted_the_same_however_few_are_held(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    histories = [draw.integers(0, 6, draw.integers(1, 9)).tolist() for _ in range(50)]
    rows = pa.table(
        {
            "cycle": ["now"] * 50,
            "item_index": pa.array(histories, pa.list_(pa.int32())),
            "loss_start": pa.array([0] * 50, pa.int32()),
        }
    )
    address = location(str(tmp_path), "s", "sequences")
    for part in range(10):  # a file each, and so a batch
        write_deltalake(address, rows.slice(5 * part, 5), partition_by=["cycle"], mode="append")
    expected = np.zeros((6, 6))
    for history in histories:
        np.add.at(expected, (history[:-1], history[1:]), 1)
    for most in (1, 7, transitions.PAIRS_AT_ONCE):
        monkeypatch.setattr(transitions, "PAIRS_AT_ONCE", most)
        counted = read_transitions(str(tmp_path), "s", "now", 9, 6)
        assert (counted.toarray() == expected).all()
        assert counted.has_canonical_format
