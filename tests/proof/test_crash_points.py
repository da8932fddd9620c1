"""A stage that ends at any of its points, and is run again, leaves what an undisturbed stage leaves.

The tiny log's first cycle runs stage by stage, each a process. Before each point the home is put back to what it was
before the stage, so that every point is reached by a stage that starts afresh.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from expectations.crash_points import EXIT_CODE, VARIABLE
from expectations.tables import TABLES, location
from model.training.checkpoint import digest_of_weights
from pipeline.registry import tracking
from pipeline.settings import CHECKOUT, Settings
from pipeline.workflows.crash_points import points_of
from pipeline.workflows.refresh_cycle import workflow
from spark_jobs.config import FeaturesConfig
from tests.end_to_end.conftest import configuration
from tests.factories import CUTOFFS, tiny_log
from tests.proof.test_scheduler import as_toml

CUTOFF = CUTOFFS[0].date().isoformat()
STAGES = workflow(configuration())
ATTEMPTS = ("ingestion",)
"""Columns that count writes, of which a stage that is run again makes more."""


class Cycle:
    """A home in which the first cycle runs, and what each of its stages began with and left."""

    def __init__(self, folder: Path) -> None:
        log = tiny_log(folder / "landing")
        with (log.folder / "items.jsonl").open("a") as items:
            items.write('{"title": "a line without an item"}\n')
        config = configuration()
        features = config.features.model_copy(update={"language_encoder": FeaturesConfig().language_encoder})
        content = config.model_copy(update={"features": features}).model_dump(
            mode="json", exclude={"preset"}, exclude_none=True
        )
        content["source"]["landing"] = str(log.folder)
        self.mapping = folder / "tiny.toml"
        self.mapping.write_text(as_toml(content) + "\n")
        self.settings = Settings.at(folder / "home")
        self.settings.home.mkdir()
        self.settings.jars.symlink_to(Settings.from_environment().jars)
        self.before = folder / "before"
        self.left: dict[str, dict[str, Any]] = {}
        for stage in STAGES:
            shutil.copytree(self.settings.home, self.before / stage.name, symlinks=True)
            code, text = self.run(stage.name)
            assert code == 0, text
            self.left[stage.name] = self.state()

    def run(self, stage: str, point: str = "") -> tuple[int, str]:
        """Exit code and output of one stage's command."""
        words = [sys.executable, "-m", "pipeline", stage, "--source", str(self.mapping), "--cutoff", CUTOFF]
        environment = os.environ | {"REPRISE_HOME": str(self.settings.home), VARIABLE: point}
        done = subprocess.run(
            words, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, f"{point}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def put_back(self, stage: str) -> None:
        """The home as the stage found it."""
        shutil.rmtree(self.settings.home)
        shutil.copytree(self.before / stage, self.settings.home, symlinks=True)

    def state(self) -> dict[str, Any]:
        """Rows of the tables, digests of weights, records, registered versions, champions and pages."""
        home, found = self.settings, {}
        for name in TABLES:
            address = location(home.lake, "tiny", name)
            if Path(address).exists():
                rows = (
                    DeltaTable(address)
                    .to_pyarrow_table()
                    .drop_columns([column for column in ATTEMPTS if column in TABLES[name].column_names])
                )
                plain = (json.dumps(row, default=str, sort_keys=True) for row in rows.to_pylist())
                found[name] = sorted(plain)
        for model in home.home.glob(f"checkpoints/tiny/{CUTOFF}/*/model.safetensors"):
            found[f"weights of {model.parent.name}"] = digest_of_weights(model.parent)
        found["records"] = sorted(path.name for path in home.cycle_folder("tiny", CUTOFF).glob("*.json"))
        found["versions"] = [
            (version.version, version.cycle, version.checkpoint_digest)
            for version in tracking.accepted_versions(home, "tiny")
        ]
        found["champion"] = tracking.champion_version(home, "tiny") if found["versions"] else None
        found["champions"] = tracking.champion_history(home, "tiny") if found["versions"] else []
        found["accepted"] = sorted(path.name for path in home.home.glob("accepted/tiny/[!.]*"))
        found["pages"] = sorted(path.name for path in home.report_folder("tiny", CUTOFF).glob("*.html"))
        return found


@pytest.fixture(scope="module")
def cycle(tmp_path_factory) -> Cycle:
    return Cycle(tmp_path_factory.mktemp("cycle"))


@pytest.mark.parametrize("point", [point for stage in STAGES for point in points_of(stage)])
def test_a_stage_that_ends_at_a_point_and_is_run_again_leaves_what_it_would_have(cycle, point):
    stage = point.partition(":")[0]
    cycle.put_back(stage)
    code, text = cycle.run(stage, point)
    assert code == EXIT_CODE, text
    code, text = cycle.run(stage)
    assert code == 0, text
    assert cycle.state() == cycle.left[stage]
