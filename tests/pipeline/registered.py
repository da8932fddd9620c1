"""A registry with one version a cycle, and what the stage `promote` is given there."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pipeline.config import RegistryConfig
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import Cycle
from pipeline.cycle.figures import FunnelFigures, RegisterFigures
from pipeline.cycle.records import StageRecord
from pipeline.registry import tracking
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from tests.factories import CUTOFFS, tiny_config


def registry(home: Path) -> Settings:
    """Versions 1, 2 and 3, one a cycle of `CUTOFFS`."""
    settings = Settings.at(home)
    for cutoff in CUTOFFS:
        context = promoting(settings, cutoff, version=0)
        lineage = {
            "cycle": context.cycle.name,
            "split": context.cycle.split.isoformat(),
            "checkpoint_digest": "d",
        }
        tracking.create_version(context, f"runs:/{tracking.run_id(context)}/model", lineage, "note")
    return settings


def promoting(
    settings: Settings,
    cutoff: datetime,
    version: int,
    run_type: str = "manual",
    promotion: str = "automatic",
    by_hand: str | None = None,
) -> StageContext:
    """The context of `promote` after `register` recorded a version; `by_hand` is the funnel's reason."""
    config = tiny_config(registry=RegistryConfig(promotion=promotion))
    cycle = Cycle("tiny", cutoff, timedelta(days=10), None, run_type=run_type)
    figures = RegisterFigures(version, "reprise-tiny", "d")
    registered = StageRecord("register", "", {}, {}, figures, None, 0.0, "", 0.0)
    judged = FunnelFigures((), "passed", (), by_hand=by_hand)
    finished = {
        "funnel": StageRecord("funnel", "", {}, {}, judged, None, 0.0, "", 0.0),
        "register": registered,
    }
    stage = workflow(config)["promote"]
    return StageContext(stage, config, cycle, settings, finished, say=lambda text: None)


def live(settings: Settings) -> int | None:
    """The live version."""
    return tracking.champion_version(settings, "tiny")


def put(settings: Settings, history: list[int], version: int) -> None:
    """Sets the champions on record, and where the alias points."""
    tracking.set_champion_history(settings, "tiny", history)
    tracking.set_alias(settings, "tiny", tracking.CHAMPION_ALIAS, version)


def state(settings: Settings) -> tuple[list[int], int | None]:
    """The champions on record, and the live version."""
    return tracking.champion_history(settings, "tiny"), live(settings)
