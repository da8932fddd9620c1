"""The points are those that the code reaches, and a name that is none of them is refused."""

from __future__ import annotations

import re

import pytest

from expectations.crash_points import VARIABLE
from expectations.tables import TABLES
from pipeline.__main__ import main
from pipeline.errors import Exit
from pipeline.settings import CHECKOUT
from pipeline.workflows.crash_points import CrashPointError, check, points
from pipeline.workflows.refresh_cycle import refresh_cycle

STAGES = refresh_cycle(["25k"])


def test_every_point_is_reached_somewhere_in_the_code_and_every_reached_one_is_a_point():
    modules = [
        path.read_text()
        for folder in ("expectations", "spark_jobs", "model", "pipeline")
        for path in (CHECKOUT / folder).rglob("*.py")
    ]
    calls = [call for text in modules for call in re.findall(r"\breach\(([^)]*)\)", text)]
    reached = {name for call in calls for name in re.findall(r'"([a-z]+-[a-z_{}.]+)"', call)}
    reached |= {
        name.replace("{table.name}", table)
        for name in reached & {"before-{table.name}", "after-{table.name}"}
        for table in TABLES
    }
    reached -= {"before-{table.name}", "after-{table.name}"}
    listed = {point.partition(":")[2] for point in points(STAGES)}
    assert listed == reached


def test_every_table_and_every_record_has_a_point_before_and_after_it():
    known = points(STAGES)
    assert len(known) == len(set(known)) == 100
    for stage in STAGES:
        for name in (
            *(name for name in stage.writes if name in TABLES),
            *(["record"] if stage.after else []),
        ):
            assert {f"{stage.name}:before-{name}", f"{stage.name}:after-{name}"} <= set(known)


def test_a_name_that_is_no_point_is_refused_with_those_that_are(monkeypatch, capsys):
    check()
    monkeypatch.setenv(VARIABLE, "events:before-events")
    check()
    monkeypatch.setenv(VARIABLE, "events:before-evnts")
    with pytest.raises(CrashPointError, match="'events:before-evnts', which is no point of a stage"):
        check()
    assert main(["status"]) == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "resolve:after-claim, " in line and "rung_8:after-ranks" in line
