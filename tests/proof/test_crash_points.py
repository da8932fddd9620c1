"""A stage that ends at any of its points, and is run again, leaves what an undisturbed stage leaves.

The tiny log's first cycle runs stage by stage, each a process. Before each point the home is put back to what it was
before the stage, so that every point is reached by a stage that starts afresh.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from expectations.crash_points import EXIT_CODE, VARIABLE
from pipeline.settings import CHECKOUT
from pipeline.workflows.crash_points import points_of
from pipeline.workflows.refresh_cycle import workflow
from tests.end_to_end.conftest import configuration
from tests.factories import CUTOFFS
from tests.proof.tiny_home import TinyHome, state

CUTOFF = CUTOFFS[0].date().isoformat()
STAGES = workflow(configuration())


class Cycle:
    """A home in which the first cycle runs, and what each of its stages began with and left."""

    def __init__(self, folder: Path) -> None:
        self.home, self.before = TinyHome(folder), folder / "before"
        self.left: dict[str, dict[str, Any]] = {}
        for stage in STAGES:
            self.home.put_away(self.before / stage.name)
            code, text = self.run(stage.name)
            assert code == 0, text
            self.left[stage.name] = self.state()

    def run(self, stage: str, point: str = "") -> tuple[int, str]:
        """Exit code and output of one stage's command."""
        words = [sys.executable, "-m", "pipeline", *self.home.words(stage, CUTOFF)]
        environment = os.environ | {"REPRISE_HOME": str(self.home.settings.home), VARIABLE: point}
        done = subprocess.run(
            words, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, f"{point}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def put_back(self, stage: str) -> None:
        """The home as the stage found it."""
        self.home.put_back(self.before / stage)

    def state(self) -> dict[str, Any]:
        return state(self.home.settings)


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
