"""Where a version came from."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

from pipeline.cycle import lineage
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.figures import RegisterFigures
from pipeline.cycle.records import StageRecord
from pipeline.settings import CHECKOUT, Settings
from pipeline.workflows.refresh_cycle import workflow
from tests.factories import CUTOFFS, tiny_config


def test_a_version_names_its_tables_its_parent_and_what_it_is_a_function_of(tmp_path, monkeypatch):
    monkeypatch.setattr(lineage, "code_revision", lambda: "abc")
    parent = AcceptedVersion(1, "2024-01-31", datetime(2024, 1, 21, tzinfo=UTC), "ef" * 32)
    cycle = Cycle("tiny", CUTOFFS[0], timedelta(days=10), parent, parent)
    finished = {
        name: StageRecord(name, "", {}, {name: 3}, RegisterFigures(1, "", ""), None, 0.0, "", 0.0, "abc")
        for name in ("events", "sequences")
    }
    config = tiny_config()
    context = StageContext(workflow(config)["register"], config, cycle, Settings.at(tmp_path), finished)
    facts = lineage.lineage(context)
    assert facts["table_versions"] == {"events": 3, "sequences": 3}
    assert (facts["parent_version"], facts["parent_cycle"]) == (1, "2024-01-31")
    assert facts["parent_checkpoint_digest"] == "ef" * 32
    assert facts["configuration_digest"] == config.digest
    assert facts["stages_of_other_revisions"] == {}


def test_the_revision_of_a_checkout_is_its_commit():
    head = subprocess.run(
        ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert lineage.code_revision().removesuffix("-dirty") == head.stdout.strip()


def test_outside_a_checkout_the_image_names_the_revision(monkeypatch):
    def fail(*arguments):
        raise OSError("git is not installed")

    monkeypatch.setattr(lineage, "_git", fail)
    monkeypatch.setenv("REPRISE_REVISION", "v1.2")
    assert lineage.code_revision() == "v1.2"
    monkeypatch.delenv("REPRISE_REVISION")
    assert lineage.code_revision() == "unknown"
