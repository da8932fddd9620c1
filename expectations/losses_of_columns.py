"""Columns of new files that were retyped or have vanished: numbers that became text, seconds that became milliseconds.

The kinds of a column's values in a file are compared with those in the files before it that the same mapping read: under
a mended mapping a column is no longer what it was. Where there are none, or only part of a file changed, the lines that
are faulty are compared with those that are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from expectations.bounds import LossBounds, share_ceiling
from expectations.figures import FileLines, KindLines
from expectations.kinds import MISSING
from expectations.losses import FEW_LINES, LEAST_LINES, Compared, Retyped, family

MOST_SOUND = 0.01
"""Largest share that a kind may have among lines that are not faulty where it is said to make others so."""

Kinds = Mapping[str, KindLines]


def compared(
    files: Sequence[FileLines],
    before: Sequence[FileLines],
    bounds: LossBounds,
    max_faulty_fraction: float,
) -> Compared:
    """The columns of new `files` beside those of files `before` them, oldest first. A file with a larger share of faulty
    lines than `max_faulty_fraction` is red; why is looked for in its columns too."""
    judged, found = 0, []
    readable = [file for file in files if file.readable]
    known = [file for file in before if file.readable and file.kinds]
    sound = _sound([*readable, *known])
    for file in readable:
        past = _past(file, known, bounds)
        for column, kinds in sorted(file.kinds.items()):
            earlier = [one.kinds[column] for one in past if column in one.kinds]
            earlier = [one for one in earlier if _total(one) >= LEAST_LINES]
            judged += bool(earlier)
            now = _foreign(kinds, earlier, bounds.max_rise) if earlier else None
            was = _most([kind for one in earlier for kind in one.items()])
            if now is None:
                now, was = _of_faulty(kinds, sound.get(column, {}), max_faulty_fraction), sound.get(column)
                was = _most((was or {}).items())
            if now is not None and was is not None and was != now:
                share = kinds[now].lines / _total(kinds)
                found.append(Retyped(file.path, column, was, now, share))
    return Compared(judged, tuple(found))


def _past(file: FileLines, known: Sequence[FileLines], bounds: LossBounds) -> list[FileLines]:
    """Files of alike names, else all, that the same mapping read."""
    same = [one for one in known if one.mapping == file.mapping]
    alike = [one for one in same if family(one.path) == family(file.path)]
    return (alike or same)[-bounds.past_files :]


def _foreign(kinds: Kinds, earlier: Sequence[Kinds], max_rise: float) -> str | None:
    """The kind of which a file has more than files before it explain; MISSING where a column has vanished."""
    total, present = _total(kinds), _total(kinds) - _count(kinds, MISSING)
    if not present:
        ceiling = share_ceiling([_count(one, MISSING) / _total(one) for one in earlier], total, max_rise)
        return MISSING if total >= FEW_LINES and ceiling < 1 else None
    valued = [one for one in earlier if _total(one) - _count(one, MISSING) >= LEAST_LINES]
    if present < LEAST_LINES or not valued:  # a new column, or too few values to tell
        return None
    foreign = []
    for kind, count in kinds.items():
        if kind != MISSING:
            shares = [_count(one, kind) / (_total(one) - _count(one, MISSING)) for one in valued]
            if count.lines / present > share_ceiling(shares, present, max_rise):
                foreign.append((count.lines, kind))
    return max(foreign)[1] if foreign else None


def _of_faulty(kinds: Kinds, sound: Mapping[str, KindLines], max_faulty_fraction: float) -> str | None:
    """The kind that faulty lines have and others have not, where so many lines are faulty that the file is red."""
    total = sum(count.lines for count in sound.values())
    for kind, count in sorted(kinds.items(), key=lambda entry: -entry[1].faulty):
        enough = count.faulty >= max(LEAST_LINES, max_faulty_fraction * _total(kinds))
        if kind != MISSING and enough and total and _count(sound, kind) / total <= MOST_SOUND:
            return kind
    return None


def _sound(files: Sequence[FileLines]) -> dict[str, dict[str, KindLines]]:
    """Lines that are not faulty, by column and kind."""
    counts: dict[str, Counter[str]] = {}
    for file in files:
        for column, kinds in file.kinds.items():
            for kind, count in kinds.items():
                counts.setdefault(column, Counter())[kind] += count.lines - count.faulty
    return {
        column: {kind: KindLines(count, 0) for kind, count in of.items()} for column, of in counts.items()
    }


def _total(kinds: Kinds) -> int:
    return sum(count.lines for count in kinds.values())


def _count(kinds: Kinds, kind: str) -> int:
    return kinds[kind].lines if kind in kinds else 0


def _most(kinds) -> str | None:
    """The most frequent kind of values, None where there are none."""
    counts: Counter[str] = Counter()
    for kind, count in kinds:
        counts[kind] += count.lines
    counts.pop(MISSING, None)
    return max(counts, key=lambda kind: (counts[kind], kind)) if counts.total() else None
