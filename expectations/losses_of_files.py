"""What became of each new file's lines, judged beside the files of earlier cycles that passed.

A file without enough of a past is judged by what holds of every healthy log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import median

from expectations.bounds import Bounds, Judged, LossBounds, count_floor, share_ceiling, whole_loss_is_chance
from expectations.figures import FileLines
from expectations.first_files import excluded_share, null_share
from expectations.losses import FEW_LINES, LEAST_LINES, Limits, Losses, Measure, family, is_set

HEADER_BYTES = {"parquet": 65_536}
"""Bytes of a file that are no line, by format."""
SMALL_HEADER_BYTES = 1024


@dataclass(frozen=True)
class _Total:
    """Lines of several files."""

    lines: int
    accepted: int
    excluded: int
    replaced: int

    @classmethod
    def of(cls, files: Sequence[FileLines]) -> _Total:
        names = [field.name for field in fields(cls)]
        return cls(*(sum(getattr(file, name) for file in files) for name in names))

    def without(self, file: FileLines) -> _Total:
        """The others' lines."""
        return _Total(*(getattr(self, one.name) - getattr(file, one.name) for one in fields(self)))


def measures_of_files(limits: Limits, losses: Losses) -> list[Measure]:
    bounds, past = limits.bounds, losses.past.files
    files = [file for file in losses.files if file.readable]
    none = "no new file" if not losses.files else "no new file can be read"
    few = f"fewer than {bounds.min_past_files} past files"

    families: dict[str, list[FileLines]] = {}
    for file in past:
        families.setdefault(family(file.path), []).append(file)
    latest = list(past[-bounds.past_files :])

    def before(file: FileLines) -> list[FileLines]:
        alike = families.get(family(file.path), [])
        return alike[-bounds.past_files :] if len(alike) >= bounds.min_past_files else latest

    compared = {file.path: before(file) for file in files}
    together = _Total.of(files)

    def share(
        value: Callable[[FileLines], float], size: Callable[[FileLines], int], given: Bounds, first
    ) -> tuple[Judged, ...]:
        """A share of each file; `first` gives the ceiling of a file without a past, or None."""
        judged = []
        for file in files:
            known = [one for one in compared[file.path] if size(one)]
            floor, ceiling, why_not = given.floor, given.ceiling, None
            if not size(file):
                floor, ceiling, why_not = None, None, "the files have no such lines"
            elif not is_set(given):
                if len(known) >= bounds.min_past_files:
                    ceiling = share_ceiling([value(one) for one in known], size(file), bounds.max_rise)
                else:
                    ceiling = first(file)
                    why_not = few if ceiling is None else None
            judged.append(Judged(file.path, size(file), value(file), floor, ceiling, why_not))
        return tuple(judged)

    def lines(file: FileLines) -> int:
        return file.lines

    remedy_of = "or accept this data once, or set expectations.losses.{}.ceiling"
    measures = [
        Measure(
            "faulty_lines_of_file",
            "few lines of each new file are faulty",
            "mend the file or the mapping, or raise expectations.max_faulty_fraction",
            "landed",
            tuple(_faulty(file, limits.max_faulty_fraction) for file in files),
            "faulty",
            none,
        ),
        Measure(
            "events_of_file",
            "no new file loses all its lines",
            "see the reasons in rejected_events: is a column that events.where names renamed, or was the file "
            "delivered twice?",
            "landed",
            tuple(_some_events(file, together, compared[file.path]) for file in files),
            "events",
            none,
            None,
        ),
        Measure(
            "excluded_lines_of_file",
            "events.where excludes no larger share of a new file than of those before",
            "compare the columns that events.where names with the file's, " + remedy_of.format("excluded"),
            "landed",
            share(
                lambda file: file.excluded / max(file.lines, 1),
                lines,
                bounds.excluded,
                lambda file: _first_excluded(file, files, bounds),
            ),
            "excluded by where",
            none,
        ),
        Measure(
            "duplicates_of_file",
            "no larger share of a new file repeats known events than of those before",
            "withdraw the file if it was delivered twice, and see whether another is missing, "
            + remedy_of.format("duplicates"),
            "landed",
            share(
                lambda file: file.duplicates / max(file.lines, 1),
                lines,
                bounds.duplicates,
                lambda file: bounds.first.duplicates if file.lines >= LEAST_LINES else None,
            ),
            "repeating known events",
            none,
        ),
        Measure(
            "repeats_of_file",
            "no larger share of a new file repeats other lines of it than of those before",
            'land the file again if it was written twice, or set source.repeats = "refuse", '
            + remedy_of.format("repeats"),
            "landed",
            share(
                lambda file: (file.repeats or 0) / max(file.lines, 1),
                lambda file: 0 if file.repeats is None else file.lines,
                bounds.repeats,
                lambda file: bounds.first.repeats if file.lines >= FEW_LINES else None,
            ),
            "repeating other lines of the file",
            none,
        ),
        Measure(
            "lines_of_file",
            "no new file has far fewer lines than those before",
            "land the whole file, or accept this data once, or set expectations.losses.lines.floor",
            "landed",
            tuple(_lines(file, compared[file.path], bounds) for file in files),
            "lines",
            none,
            None,
        ),
        Measure(
            "bytes_per_event_of_file",
            "no new file is far larger for its events than those before",
            "look into the file: lines that were joined, or text that no event is made of; or set "
            "expectations.losses.bytes_per_event.ceiling",
            "landed",
            tuple(_bytes(file, compared[file.path], bounds, limits.format) for file in files),
            "bytes an event",
            none,
            None,
        ),
    ]
    for column in limits.columns:
        measures.append(
            Measure(
                f"null_{column}_of_file",
                f"{column} is missing in no larger share of a new file's events than before",
                f"compare what events.{column} names with the file's columns, or set "
                f"expectations.losses.nulls.{column}.ceiling",
                "landed",
                share(
                    lambda file, column=column: min(1.0, file.nulls.get(column, 0) / max(file.accepted, 1)),
                    lambda file, column=column: file.accepted if column in file.nulls else 0,
                    bounds.nulls.of(column),
                    lambda file, column=column: _first_null(file, files, column, bounds),
                ),
                f"without {column}",
                none,
                "events",
            )
        )
    return measures


def _faulty(file: FileLines, largest: float) -> Judged:
    size = file.accepted + file.faulty
    # A small file may have one faulty line, if it has another line.
    ceiling = max(largest, 1 / size) if 2 <= size < FEW_LINES and largest else largest
    return Judged(file.path, size, file.faulty / size if size else 0.0, None, ceiling)


def _some_events(file: FileLines, together: _Total, past: Sequence[FileLines]) -> Judged:
    size = file.lines - file.replaced
    if size < LEAST_LINES:
        return Judged(file.path, size, file.accepted, why_not=f"fewer than {LEAST_LINES} lines")
    others = _Total.of(past) if past else together.without(file)
    # One event and one line more: that no line was lost before does not make it certain.
    kept = (others.accepted + 1) / (others.lines - others.replaced + 1)
    return Judged(file.path, size, file.accepted, 0.0 if whole_loss_is_chance(kept, size) else 1.0)


def _first_excluded(file: FileLines, files: Sequence[FileLines], bounds: LossBounds) -> float | None:
    if file.lines < LEAST_LINES:
        return None
    if excluded_share(files) > bounds.first.all_excluded:
        return bounds.first.all_excluded
    others = _Total.of(files).without(file)
    if not others.lines:
        return None
    usual = share_ceiling([others.excluded / others.lines], file.lines, bounds.max_rise)
    return max(bounds.first.excluded, usual)


def _first_null(file: FileLines, files: Sequence[FileLines], column: str, bounds: LossBounds) -> float | None:
    """A column may be empty in a file; one that is empty in all files is not where the mapping looks for it."""
    if file.accepted and null_share(files, column) > bounds.first.nulls:
        return bounds.first.nulls
    return None


def _lines(file: FileLines, past: Sequence[FileLines], bounds: LossBounds) -> Judged:
    given, known = bounds.lines, [one.lines for one in past]
    if is_set(given):
        return Judged(file.path, file.lines, file.lines, given.floor, given.ceiling)
    if len(known) < bounds.min_past_files:
        why_not = f"fewer than {bounds.min_past_files} past files"
    elif median(known) < FEW_LINES:
        why_not = f"past files have fewer than {FEW_LINES} lines"
    else:
        return Judged(file.path, file.lines, file.lines, count_floor(known, bounds.min_ratio))
    return Judged(file.path, file.lines, file.lines, why_not=why_not)


def _bytes(file: FileLines, past: Sequence[FileLines], bounds: LossBounds, format: str) -> Judged:
    given, ending = bounds.bytes_per_event, file.path.rsplit(".", 1)[-1].lower()
    alike = [one for one in past if one.path.lower().endswith(f".{ending}") and one.accepted]
    size, each = file.accepted, file.size_bytes / max(file.accepted, 1)
    if not size:
        return Judged(file.path, size, each, why_not="no new file gives an event")
    if is_set(given):
        return Judged(file.path, size, each, given.floor, given.ceiling)
    if len(alike) < bounds.min_past_files:
        return Judged(
            file.path, size, each, why_not=f"fewer than {bounds.min_past_files} past files of this ending"
        )
    header = HEADER_BYTES.get(format, SMALL_HEADER_BYTES) / size
    largest = max(one.size_bytes / one.accepted for one in alike)
    return Judged(file.path, size, each, None, largest * bounds.max_ratio + header)
