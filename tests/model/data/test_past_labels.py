"""High-value events before the split."""

from __future__ import annotations

import pyarrow as pa
from deltalake import write_deltalake

from expectations.tables import location
from model.data.past_labels import read_past_labels


def test_each_high_value_event_after_an_instant_counts_once_across_chunks(tmp_path):
    # A history 5 6 7 8 in two chunks that share the event of item 6; another user; another cycle beside.
    rows = pa.table(
        {
            "cycle": ["now", "now", "now", "before"],
            "item_index": pa.array([[5, 6], [6, 7, 8], [9], [4]], pa.list_(pa.int32())),
            "event_at_us": pa.array([[10, 20], [20, 30, 40], [15], [50]], pa.list_(pa.int64())),
            "loss_start": pa.array([0, 1, 0, 0], pa.int32()),
            "target_positions": pa.array([[0, 1], [0, 2], [0], [0]], pa.list_(pa.int32())),
        }
    )
    write_deltalake(location(str(tmp_path), "s", "sequences"), rows, partition_by=["cycle"])
    found = read_past_labels(str(tmp_path), "s", "now", 0, 10)
    assert found.item_index.tolist() == [9, 6, 8]  # not item 5, at the instant itself, nor 7, no target
    assert found.event_at_us.tolist() == [15, 20, 40]
    assert read_past_labels(str(tmp_path), "s", "later", 0, 0).item_index.size == 0
