"""Where a version came from: code revision, table versions, configuration, parent."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from pipeline.cycle.context import StageContext
from pipeline.cycle.records import table_versions
from pipeline.settings import CHECKOUT


def code_revision() -> str:
    """Git commit of the checkout, with `-dirty` when files differ; outside a checkout, as in an image,
    REPRISE_REVISION, or `unknown`."""
    try:
        revision = _git("rev-parse", "HEAD")
        return f"{revision}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else revision
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("REPRISE_REVISION") or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def lineage(context: StageContext) -> dict[str, Any]:
    """Everything a registered version is a function of, as plain values."""
    cycle, parent, revision = context.cycle, context.cycle.parent, code_revision()
    return {
        "source": cycle.source,
        "cycle": cycle.name,
        "cutoff": cycle.cutoff.isoformat(),
        "split": cycle.split.isoformat(),
        "parent_version": parent.version if parent else None,
        "parent_cycle": parent.cycle if parent else None,
        "parent_checkpoint_digest": parent.checkpoint_digest if parent else None,
        "table_versions": table_versions(context.records),
        "configuration_digest": context.config.digest,
        "preset": context.config.preset,
        "code_revision": revision,
        "stages_of_other_revisions": {
            stage: record.code_revision
            for stage, record in context.records.items()
            if record.code_revision != revision
        },
    }
