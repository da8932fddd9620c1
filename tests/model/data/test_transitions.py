"""How often one item follows another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from expectations.tables import location
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
