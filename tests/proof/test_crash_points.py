"""A stage that ends at any of its points, and is run again, leaves what an undisturbed stage leaves.

The tiny log's first cycle runs stage by stage, each a process of its own. Before each point the home is put back to what it was
before the stage, so that every point is reached by a stage that starts afresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from expectations.crash_points import EXIT_CODE, VARIABLE
from pipeline.workflows.crash_points import points_of
from pipeline.workflows.refresh_cycle import workflow
from tests.end_to_end.conftest import configuration
from tests.factories import CUTOFFS
from tests.proof.fork_server import ForkServer
from tests.proof.tiny_home import TinyHome

CUTOFF = CUTOFFS[0].date().isoformat()
STAGES = workflow(configuration())


class Cycle:
    """A home in which the first cycle runs, and what each of its stages began with and left."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, TinyHome(folder)
        self.server = ForkServer(self.home.settings.home)
        self.left: dict[str, dict[str, Any]] = {}
        for stage in STAGES:
            self.home.put_away(self.before(stage.name))
            code, text = self.run(stage.name)
            assert code == 0, text
            self.left[stage.name] = self.state()

    def before(self, stage: str) -> Path:
        return self.folder / "before" / stage

    def run(self, stage: str, point: str = "") -> tuple[int, str]:
        """Exit code and the end of the output of one stage's command."""
        log = self.folder / "stage.log"
        process = self.server.start(self.home.words(stage, CUTOFF), log, **{VARIABLE: point})
        code = process.wait()
        process.end_group()
        return code, f"{point}\n{log.read_text()[-3000:]}"

    def state(self) -> dict[str, Any]:
        return self.server.state(self.home.settings.home, self.folder)


@pytest.fixture(scope="module")
def cycle(tmp_path_factory) -> Iterator[Cycle]:
    made = Cycle(tmp_path_factory.mktemp("cycle"))
    yield made
    made.server.close()


@pytest.mark.parametrize("point", [point for stage in STAGES for point in points_of(stage)])
def test_a_stage_that_ends_at_a_point_and_is_run_again_leaves_what_it_would_have(cycle, point):
    stage = point.partition(":")[0]
    cycle.home.put_back(cycle.before(stage))
    code, text = cycle.run(stage, point)
    assert code == EXIT_CODE, text
    code, text = cycle.run(stage)
    assert code == 0, text
    assert cycle.state() == cycle.left[stage]
