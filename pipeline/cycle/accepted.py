"""What later cycles need of an accepted version: its models, records and configuration.

    accepted/ml-100k/1f0c…/   cycle.json  stage-*.json  candidate/  rung-25k/  rung-50k/

A cycle may run again under another configuration, which replaces its records and checkpoints. Later cycles
still start from the registered version's weights, read its vocabulary and compare with its rungs, so its
files are kept here. They are hard links, not copies: files under a cycle's folders are replaced whole and
never written in place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from expectations.crash_points import reach
from model.evaluation.names import CANDIDATE
from model.training.checkpoint import MOMENTS, STATE, WEIGHTS
from pipeline.config import Config, parse_stored
from pipeline.cycle.definition import AcceptedVersion, Cycle, read_cycle_file
from pipeline.cycle.formats import upgrade_cycle
from pipeline.cycle.records import StageRecord, read_records
from pipeline.cycle.records import table_versions as merged_versions
from pipeline.settings import Settings


def keep(settings: Settings, cycle: Cycle, checkpoint_digest: str) -> None:
    """Links the files of a cycle whose candidate has these weights; does nothing when they are kept already.

    The folder appears in one rename, so a kill leaves it whole or absent.
    """
    target = settings.accepted_folder(cycle.source, checkpoint_digest)
    if target.exists():
        return
    temporary = target.with_name(f".{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed run
    for source, name in _files(settings, cycle):
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        _link(source, temporary / name)
    reach("inside-kept")
    os.replace(temporary, target)


def model_folder(settings: Settings, source: str, version: AcceptedVersion, model: str) -> Path:
    """Checkpoint folder of a model (`candidate`, `rung-25k`) of the cycle that made the version."""
    return settings.accepted_folder(source, version.checkpoint_digest) / model


def records(settings: Settings, source: str, version: AcceptedVersion) -> dict[str, StageRecord]:
    """Stage records of the cycle that made the version, by stage."""
    return read_records(settings.accepted_folder(source, version.checkpoint_digest))


def table_versions(settings: Settings, source: str, version: AcceptedVersion) -> dict[str, int]:
    """Delta versions that the version was made from, by table."""
    return merged_versions(records(settings, source, version))


def configuration(settings: Settings, source: str, version: AcceptedVersion) -> Config:
    """The configuration that the version was made with. Raises ConfigError when this revision no longer
    accepts it."""
    path = settings.accepted_folder(source, version.checkpoint_digest) / "cycle.json"
    content = upgrade_cycle(json.loads(path.read_text()))["configuration"]
    return parse_stored(content, f"the configuration of version {version.version}")


def ancestor(
    settings: Settings, source: str, version: AcceptedVersion, promotions: int
) -> AcceptedVersion | None:
    """The version that was champion so many promotions before a version's; the version itself for 0.

    What a cycle was compared with is the champion of its time. None where the chain is shorter, or one of
    its records is lost.
    """
    for _ in range(promotions):
        path = settings.accepted_folder(source, version.checkpoint_digest) / "cycle.json"
        before = read_cycle_file(path).cycle.reference if path.exists() else None
        if before is None:
            return None
        version = before
    return version


def _files(settings: Settings, cycle: Cycle) -> Iterator[tuple[Path, Path]]:
    """Every file to keep, with its path in the version's folder."""
    for path in settings.cycle_folder(cycle.source, cycle.name).glob("*.json"):
        yield path, Path(path.name)
    models = settings.checkpoint_folder(cycle.source, cycle.name, CANDIDATE).parent
    for name in (WEIGHTS, MOMENTS, STATE):
        for path in models.glob(f"*/{name}"):
            yield path, path.relative_to(models)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
