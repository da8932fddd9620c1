"""A version is made again from its record; where it cannot be, the reason is told. A whole one: tests/end_to_end/test_cycles.py."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from expectations.tables import EVENTS
from pipeline.cycle import lease
from pipeline.maintenance.replay import DIFFERS, IMPOSSIBLE, SAME, Replayed, ReplayError, replay, require_same
from spark_jobs.lake import delta
from tests.pipeline.maintenance.conftest import DIGEST, REGISTERED


def outcomes(tidy) -> dict[str, tuple[str, str]]:
    return {
        told.table: (told.outcome, told.words) for told in replay(tidy.settings, "tiny", 1, tidy.lines.append)
    }


def test_what_a_version_was_given_is_there_or_told_to_be_gone(tidy):
    with pytest.raises(ReplayError, match="tiny has no version 7; its versions are 1"):
        replay(tidy.settings, "tiny", 7, print)
    with (
        lease.alone(tidy.settings, "replay-tiny-1"),
        pytest.raises(lease.SourceBusyError, match="replay-tiny-1"),
    ):
        replay(tidy.settings, "tiny", 1, print)
    weights = tidy.settings.accepted_folder("tiny", DIGEST) / "candidate" / "model.safetensors"
    altered = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    assert outcomes(tidy) == {
        "events": (SAME, "1 rows, the given ones"),
        "kept weights": (DIFFERS, f"{altered}, registered was {DIGEST[:16]}"),
    }
    version = tidy.versions[REGISTERED]
    for name in delta.files_of(tidy.spark, tidy.settings.lake, "tiny", EVENTS, version):
        next(Path(tidy.settings.lake).rglob(name)).unlink()
    weights.unlink()
    told = outcomes(tidy)
    words = f"because 1 of the 1 files of events, version {version}, were vacuumed or erased"
    assert told["events"] == (IMPOSSIBLE, words)
    assert told["kept weights"] == (IMPOSSIBLE, f"they are missing in {weights.parent}")
    (weights.parent.parent / "cycle.json").unlink()
    with pytest.raises(
        ReplayError, match="the record of version 1 is missing in .*; restore it from a backup"
    ):
        replay(tidy.settings, "tiny", 1, print)


def test_only_if_all_is_the_same_it_is_well():
    require_same([Replayed("events", 1, SAME, ""), Replayed("items", 2, SAME, "")], 3)
    found = [
        Replayed("events", 1, SAME, ""),
        Replayed("items", 2, DIFFERS, ""),
        Replayed("ranks", 2, DIFFERS, ""),
    ]
    with pytest.raises(
        ReplayError, match="version 3 is not what its record makes again: items and ranks: differs; see"
    ):
        require_same(found, 3)
