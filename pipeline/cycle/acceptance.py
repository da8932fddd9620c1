"""A person's word for data that a suite found wanting: it passes that suite once, over that data.

    cycles/my-log/2026-03-01/red-validate_events.json        what the suite found, written by the suite
    cycles/my-log/2026-03-01/accepted-validate_events.json   who accepts it, and why

Both carry the digest of the stage's inputs: for other data, another configuration or another parent the word does not
count. The record of the stage that passes by it holds it, and so does every page.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from expectations.files import write_atomically
from expectations.wording import listing
from pipeline.cycle.corrections import CorrectionError, Said
from pipeline.cycle.figures import AcceptedData
from pipeline.settings import Settings


def found_red(folder: Path, stage: str, inputs_digest: str, failed: list[str], crashed: list[str]) -> None:
    """Leaves in a cycle's folder what a suite found: names of expectations, `table.name`."""
    content = {"inputs_digest": inputs_digest, "failed": failed, "crashed": crashed}
    write_atomically(_red(folder, stage), json.dumps(content, indent=1))


def passed(folder: Path, stage: str) -> None:
    """Takes back that the suite is red."""
    _red(folder, stage).unlink(missing_ok=True)


def find(folder: Path, stage: str, inputs_digest: str, failed: list[str]) -> AcceptedData | None:
    """The word that lets a stage with these inputs pass although these expectations failed; None: nobody's."""
    path = _accepted(folder, stage)
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    if content.pop("inputs_digest") != inputs_digest or not set(failed) <= set(content["expectations"]):
        return None
    return AcceptedData(**{**content, "expectations": tuple(content["expectations"])})


def accept(settings: Settings, source: str, cycle: str, why: Said) -> dict[str, AcceptedData]:
    """Accepts what is red in a cycle; returns it by stage. Raises CorrectionError where nothing is, and for a check
    that crashed, which says nothing about the data."""
    folder = settings.cycle_folder(source, cycle)
    if not folder.exists():
        known = sorted(path.name for path in folder.parent.glob("*"))
        raise CorrectionError(f"{source} has no cycle {cycle}; its cycles are {', '.join(known) or 'none'}")
    words = {}
    for path in sorted(folder.glob("red-*.json")):
        stage, red = path.stem.removeprefix("red-"), json.loads(path.read_text())
        if red["crashed"]:
            raise CorrectionError(
                f"{listing(red['crashed'])} of {stage} crashed and said nothing about the data, so there is nothing "
                f"to accept; run the cycle again, and if it crashes again report it"
            )
        words[stage] = AcceptedData(tuple(red["failed"]), why.by, why.at, why.reason)
        content = {"inputs_digest": red["inputs_digest"], **asdict(words[stage])}
        write_atomically(_accepted(folder, stage), json.dumps(content, indent=1))
    if not words:
        raise CorrectionError(f"no suite of cycle {cycle} of {source} is red, so there is nothing to accept")
    return words


def _red(folder: Path, stage: str) -> Path:
    return folder / f"red-{stage}.json"


def _accepted(folder: Path, stage: str) -> Path:
    return folder / f"accepted-{stage}.json"
