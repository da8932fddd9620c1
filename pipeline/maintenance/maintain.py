"""The command `maintain`: compacts tables, and removes files, texts, reports and checkpoints that nobody needs.

    python -m pipeline maintain --source my.toml --dry-run
    python -m pipeline maintain --source my.toml

Reads the records of all cycles and the registry, and `[maintenance]`. What a registered version, an unfinished cycle or
one of the newest cycles refers to stays (`pipeline.maintenance.kept`). No stage of the source runs meanwhile. Killed at
any moment, it has done no harm and the same command completes it: rows stay as they are, and what is deleted nobody
refers to.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.tables import INGESTED_FILES, REJECTED_EVENTS, TABLES
from pipeline.config import Config
from pipeline.cycle import lease, vacuumed
from pipeline.cycle.context import spark_session
from pipeline.cycle.definition import cycle_name, load_cycle
from pipeline.maintenance.kept import Kept, find_kept
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Say = Callable[[str], None]
MEGABYTE = 1 << 20


def maintain(config: Config, settings: Settings, say: Say, dry_run: bool = False) -> None:
    """Tidies what belongs to one source; with `dry_run` it only says what would go. Raises SourceBusyError while a
    stage or another such command is at work."""
    source = config.source.name
    with lease.mending(settings, source, "maintain"):
        kept = find_kept(settings, source, config.maintenance.keep_cycles)
        if kept.newest is None:
            say(f"no cycle of {source} has run in {settings.home}, so there is nothing to maintain")
            return
        spark = spark_session(settings, config)
        # What readers without a pin open now stays until the next call.
        kept = _with_newest(spark, settings, source, kept)
        _texts(spark, config, settings, kept, say, dry_run)
        _compact(spark, config, settings, say, dry_run)
        freed = _vacuum(spark, config, settings, kept, say, dry_run)
        freed += _folders(config, settings, kept, say, dry_run)
    say(
        f"{freed:,} bytes {'would be' if dry_run else 'were'} freed; {len(kept.cycles):,} cycles and what "
        f"registered versions refer to stay as they are"
    )


def _with_newest(spark: SparkSession, settings: Settings, source: str, kept: Kept) -> Kept:
    from spark_jobs.lake import delta

    versions = dict(kept.versions)
    for table in TABLES.values():
        newest = delta.latest_version(spark, settings.lake, source, table)
        if newest is not None:
            versions[table.name] = versions.get(table.name, frozenset()) | {newest}
    return replace(kept, versions=versions)


def _before(settings: Settings, source: str, kept: Kept, days: float) -> str:
    """Name of a cycle so many days before the newest."""
    newest = load_cycle(settings, source, str(kept.newest))
    return cycle_name(newest.cutoff - timedelta(days=days))


def _texts(
    spark: SparkSession, config: Config, settings: Settings, kept: Kept, say: Say, dry_run: bool
) -> None:
    """Takes the text of old refused lines. The versions that are kept still have it."""
    from spark_jobs.lake import delta
    from spark_jobs.landing import stored

    days, place = config.maintenance.rejected_days, (settings.lake, config.source.name)
    tables = (INGESTED_FILES, REJECTED_EVENTS)
    if days is None or any(delta.latest_version(spark, *place, table) is None for table in tables):
        return
    before = _before(settings, config.source.name, kept, days)
    condition, lines, size = stored.texts_before(spark, *place, before)
    if lines and not dry_run:
        stored.drop_texts(spark, *place, condition)
    if lines:
        what = "would lose" if dry_run else "lost"
        say(f"rejected_events: {lines:,} lines of before {before} {what} their text, {size:,} bytes")


def _compact(spark: SparkSession, config: Config, settings: Settings, say: Say, dry_run: bool) -> None:
    from spark_jobs.lake import delta, maintenance

    options, place = config.maintenance, (settings.lake, config.source.name)
    up_to = options.file_megabytes * MEGABYTE
    below = up_to // 4
    for table in maintenance.COMPACTED:
        if delta.latest_version(spark, *place, table) is None:
            continue
        small = maintenance.small_files(spark, *place, table, below)
        if len(small) < options.small_files:
            continue
        if not dry_run:
            delta.compact(spark, table, *place, below, up_to)
        what = "would be written" if dry_run else "are written"
        size = sum(file.size_bytes for file in small)
        say(f"{table.name}: {len(small):,} small files of {size:,} bytes {what} together")


def _vacuum(
    spark: SparkSession, config: Config, settings: Settings, kept: Kept, say: Say, dry_run: bool
) -> int:
    """Deletes files that no kept version refers to; returns their bytes."""
    from spark_jobs.lake import delta, maintenance

    source, now = config.source.name, datetime.now(UTC)
    before, freed = now - timedelta(hours=config.maintenance.vacuum_hours), 0
    if not dry_run:
        # First: a cycle whose tables may be gone begins again with its first stage.
        for name in kept.others:
            vacuumed.mark(settings.cycle_folder(source, name), now)
    for table in TABLES.values():
        versions = kept.versions.get(table.name, frozenset())
        unused = maintenance.unused_files(spark, settings.lake, source, table, versions, before)
        size = sum(file.size_bytes for file in unused)
        if unused and not dry_run:
            delta.delete_files(spark, unused)
        if unused:
            what = "would be deleted" if dry_run else "deleted"
            say(
                f"{table.name}: {len(unused):,} files of versions that nobody needs {what}, {size:,} bytes; "
                f"{len(versions):,} versions stay"
            )
        freed += size
    return freed


def _folders(config: Config, settings: Settings, kept: Kept, say: Say, dry_run: bool) -> int:
    """Deletes old reports and checkpoints of cycles that are not kept; returns their bytes."""
    source, freed = config.source.name, 0
    old = {
        "reports": (config.maintenance.report_days, settings.report_folder(source, "any").parent),
        "checkpoints": (
            config.maintenance.checkpoint_days,
            settings.checkpoint_folder(source, "any", "any").parent.parent,
        ),
    }
    for what, (days, parent) in old.items():
        if days is None:
            continue
        before = _before(settings, source, kept, days)
        for name in kept.others:
            folder = parent / name
            if name >= before or not folder.exists():
                continue
            size = _bytes(folder)
            if not dry_run:
                shutil.rmtree(folder)
            say(f"{what} of cycle {name} {'would be deleted' if dry_run else 'deleted'}, {size:,} bytes")
            freed += size
    return freed


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
