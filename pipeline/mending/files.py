"""Withdraws landed event files, lets them in again, and reads refused lines anew.

Each command writes down what is wanted before it changes a table, and every step of the change is harmless when it is done
twice: a command that is killed is completed by the same command, or by the next cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.cycle import corrections, identity, lease
from pipeline.cycle.context import spark_session
from pipeline.cycle.corrections import CorrectionError, Said
from pipeline.runner import corrected, job_of, landing_folder
from pipeline.settings import Settings
from spark_jobs.config import Job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Say = Callable[[str], None]
SHOWN = 5
"""Names or reasons that a report lists at most."""
AFTERWARDS = (
    "cycles that have passed keep the data that they were made from; the next cycle is made of today's"
)


def withdraw(config: Config, settings: Settings, file: str, why: Said, say: Say) -> None:
    """Takes a landed file's events and refused lines out, and keeps it out.

    `file`: its name relative to the landing folder, or its path. Raises CorrectionError for a file that was
    never ingested and is not landed.
    """
    source = config.source.name
    with lease.mending(settings, source, "withdraw"):
        identity.check(config, settings)
        spark = spark_session(settings, config)
        job = mending_job(config, settings)
        from spark_jobs.landing import ingestion, outdated

        ingested = ingestion.ingested_files(spark, settings.lake, source)
        name = _name(config, settings, spark, file, {row["file_path"] for row in ingested.values()})
        own = {file_id: outdated.WITHDRAWN for file_id, row in ingested.items() if row["file_path"] == name}
        said = corrections.withdraw(corrections.read(settings, source), name, tuple(own), why)
        corrections.write(settings, source, said)
        kept_out = {*said.kept_out}
        own = {
            file_id: outdated.WITHDRAWN
            for file_id, row in ingested.items()
            if file_id in kept_out or row["file_path"] in kept_out
        }
        events, refused, again = ingestion.take_out(spark, job, ingested, own)
    say(f"{name} is withdrawn: {events:,} events and {refused:,} refused lines left")
    if again:
        say(f"{again:,} files with repeats of other files' events are read again by the next cycle")
    say("it stays out, landed again or not, until: withdraw --undo")
    say(AFTERWARDS)


def undo_withdrawal(config: Config, settings: Settings, file: str, say: Say) -> None:
    """Lets a withdrawn file in again; the next cycle reads it. Raises CorrectionError when it is not withdrawn."""
    source = config.source.name
    with lease.mending(settings, source, "withdraw"):
        said = corrections.read(settings, source)
        names = {entry.file for entry in said.withdrawn}
        name = file if file in names else _relative(config, settings, file)
        corrections.write(settings, source, corrections.readmit(said, name))
    say(f"{name} is no longer withdrawn; the next cycle reads it if it is landed")


def replay_rejected(config: Config, settings: Settings, reason: str | None, why: Said, say: Say) -> None:
    """Reads landed files with refused lines again, as today's mapping has it, and ingests what landed since.

    `reason`: only files with a line that was refused for a reason that contains this text. Accepted lines
    enter, the others stay refused with today's reason. Raises CorrectionError where no line was refused so.
    """
    source = config.source.name
    with lease.mending(settings, source, "replay-rejected"):
        identity.check(config, settings)
        spark, job = spark_session(settings, config), mending_job(config, settings)
        from spark_jobs import events
        from spark_jobs.landing import ingestion
        from spark_jobs.landing.table_rows import lost_to_reading

        before = ingestion.refused_by_reason(spark, settings.lake, source)
        wanted = {one for one in before if reason is None or reason in one}
        if not wanted:
            known = ", ".join(sorted(before)[:SHOWN]) or "none"
            raise CorrectionError(f"no line of {source} was refused for {reason!r}; reasons are: {known}")
        files = events.landed_files(spark, job)
        landed = {file.file_id for file in files}
        landed -= lost_to_reading(spark, files, landed)
        marked, absent = ingestion.mark_for_reading(spark, job, wanted, landed)
        say(f"{marked:,} landed files with such lines are read again ({why.by}: {why.reason})")
        result = events.main(spark, job)
        after = ingestion.refused_by_reason(spark, settings.lake, source)
    say(f"{result.figures.accepted:,} of the {result.figures.lines:,} lines that were read are events now")
    for name in sorted({*before, *after}, key=lambda one: -before.get(one, 0)):
        if before.get(name, 0) != after.get(name, 0):
            say(f"  {name}: {before.get(name, 0):,} → {after.get(name, 0):,} refused lines")
    if before == after:
        say("  every line is refused for the reason it was refused for before; mend the mapping first")
    if absent:
        say(f"{absent:,} files with such lines are landed no more; land them again to have them read")
    say(AFTERWARDS)


def mending_job(config: Config, settings: Settings) -> Job:
    """A job of the source outside a cycle. What it ingests is labelled with the newest cycle, and judged by the next
    one that runs. Raises CorrectionError when no cycle has run."""
    from pipeline.cycle.definition import load_cycle

    source = config.source.name
    names = sorted(
        path.parent.name for path in settings.cycle_folder(source, "any").parent.glob("*/cycle.json")
    )
    if not names:
        raise CorrectionError(f"no cycle of {source} has run in {settings.home}, so there is nothing to mend")
    cycle = load_cycle(settings, source, names[-1])
    return job_of(config, settings, cycle, **corrected(settings, source))


def _name(config: Config, settings: Settings, spark: SparkSession, file: str, ingested: set[str]) -> str:
    """A file's name as `ingested_files` has it."""
    from spark_jobs.landing.listing import listing

    relative = _relative(config, settings, file)
    for name in (file, relative):
        if name in ingested:
            return name
    found = listing(landing_folder(config, settings), config.source.events.files, lambda: spark)
    landed = {_relative(config, settings, path) for path, *_ in found}
    if relative in landed:
        return relative
    near = sorted(name for name in {*ingested, *landed} if Path(name).name == Path(file).name)
    hint = f"; did you mean {', '.join(near[:SHOWN])}?" if near else ""
    raise CorrectionError(
        f"{file} is no event file of {config.source.name}: it was never ingested and is not landed in "
        f"{landing_folder(config, settings)}{hint}"
    )


def _relative(config: Config, settings: Settings, file: str) -> str:
    """A path without the landing folder before it; a name as it is."""
    if "://" in file and not file.startswith("file:"):
        return file.removeprefix(landing_folder(config, settings).rstrip("/") + "/")
    from spark_jobs.landing.files import path_key

    root = Path(path_key(landing_folder(config, settings))).absolute()
    path = Path(path_key(file))
    for whole in (path, path.absolute()):
        if whole.is_absolute() and whole.is_relative_to(root):
            return str(whole.relative_to(root))
    return file
