"""Erases one person: from tables and their versions, refused lines, landed files, pages; and keeps the person out.

What a registered version learnt stays in its weights, which hold no id and no event; the report names them.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.cycle import corrections, identity, lease, passed_tables
from pipeline.cycle.context import spark_session
from pipeline.cycle.corrections import CorrectionError, Said
from pipeline.mending import landed, pages
from pipeline.mending.files import Say, mending_job
from pipeline.settings import Settings


def erase_user(config: Config, settings: Settings, user: str, why: Said, say: Say) -> None:
    """Erases a user's id, as it is in `events`. Killed at any moment, it is completed by the same command.

    Raises CorrectionError for an empty id.
    """
    if not user.strip():
        raise CorrectionError("the id of the user is empty; pass it as it is in the table events")
    source = config.source.name
    with lease.mending(settings, source, "erase-user"):
        identity.check(config, settings)
        job, spark = mending_job(config, settings), spark_session(settings, config)
        from spark_jobs.erasure import erase
        from spark_jobs.landing.erased import user_digest

        digest = user_digest(source, user)
        # First: whatever happens next, no ingestion brings the person back.
        said = corrections.erase(corrections.read(settings, source), digest, why)
        corrections.write(settings, source, said)
        rewritten = landed.rewrite_without(spark, job, digest)
        erasure = erase(spark, settings.lake, source, user)
        changed = pages.scrub(_folders(settings, source), user)
        passed_tables.publish(settings, source, spark)
    say(
        f"landed files: {rewritten.lines:,} lines left {len(rewritten.files):,} files; the next cycle reads them again"
    )
    for name, reason in rewritten.kept:
        say(f"  {name} still has lines of the user: {reason}; remove them there, no ingestion takes them")
    say(f"events: {erasure.events:,} left; refused lines: {erasure.texts:,} lost their text")
    for table, rows in erasure.rows.items():
        say(f"{table}: {rows:,} rows left")
    say(f"earlier versions: {erasure.old_files:,} files deleted; what was made of them can no longer be read")
    say(f"pages and records: {changed:,} changed")
    for line in _models(settings, source):
        say(line)


def _models(settings: Settings, source: str) -> list[str]:
    """What registered models keep."""
    from pipeline.registry import tracking

    versions = sorted(version.version for version in tracking.accepted_versions(settings, source))
    if not versions:
        return ["no model is registered; the next is trained without the user"]
    listed = ", ".join(str(version) for version in versions)
    return [
        f"registered versions {listed} hold no id and no event of the user; what they learnt stays in their weights",
        "the next model is trained without the user; cycle --cold-start makes one that never saw the user at all",
    ]


def _folders(settings: Settings, source: str) -> list[Path]:
    """Where pages and records of a source are; in an MLflow server of its own they are not reached."""
    found = [
        settings.report_folder(source, "any").parent,
        settings.cycle_folder(source, "any").parent,
        settings.accepted_folder(source, "any").parent,
        settings.artifacts,
    ]
    return [folder for folder in found if folder.exists()]
