"""Lines of a whole file as records: a CSV record with line breaks inside quotes, a value of a JSON array.

From lines or pieces of text to `Record`s, one after the other in bounded memory. Reading in blocks cannot
give these, because only all that comes before says whether a line break ends a record. Knows no Spark.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from spark_jobs.landing.unpacking import DamagedFile

NOT_CLOSED = "in a quoted field that is never closed"
BAD_QUOTES = "a quote inside a quoted field is neither doubled nor escaped"
MAX_RECORD_BYTES = 8 << 20
"""Size of a delimited record's lines; a quote that is not closed within it is never closed."""
_MAX_VALUE_CHARACTERS = 64 << 20
_CARRIAGE_RETURN = "\ue00d"
"""Stands for a carriage return inside a line, which the csv module would take for a line end."""


class Record(NamedTuple):
    """One record; text is UTF-8 where the file is."""

    number: int
    """The 1-based line on which it begins; of a JSON value, its place in the file."""
    raw: bytes
    fields: list[bytes] | None
    """The delimited fields; None where there are none or the record cannot be cut into fields."""
    problem: str | None
    """Why it cannot be read; None when it can."""


@dataclass(frozen=True)
class Dialect:
    """How lines are cut into fields."""

    delimiter: str
    quote: str | None
    escape: str | None

    def reader(self, source: Iterator[str], strict: bool):
        """The csv module's reader of a dialect that has quotes or a delimiter of one character."""
        csv.field_size_limit(2 * MAX_RECORD_BYTES)
        return csv.reader(
            source,
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape,
            doublequote=True,
            strict=strict,
        )


def line_records(lines: Iterable[bytes]) -> Iterator[Record]:
    """Every line as one record without fields."""
    for number, line in enumerate(lines, start=1):
        yield Record(number, line, None, None)


def delimited_records(lines: Iterable[bytes], dialect: Dialect) -> Iterator[Record]:
    """Lines as delimited records. Line breaks inside quotes belong to the field, as line feeds.

    A record with malformed quotes is refused whole, with all lines that the csv module takes for its
    own. Where a quoted field is never closed, every line from its first on is refused: none of them can be
    told from text of that field.
    """
    if not dialect.quote and not dialect.escape:
        delimiter = dialect.delimiter.encode()
        for number, line in enumerate(lines, start=1):
            yield Record(number, line, line.split(delimiter), None)
        return
    source = _Feed(lines)
    number = 1
    while True:
        source.taken.clear()
        try:
            for fields in dialect.reader(source, strict=True):
                yield Record(number, b"\n".join(source.taken), [_bytes(field) for field in fields], None)
                number += len(source.taken)
                source.taken.clear()
            return
        except csv.Error as error:
            is_open = "unexpected end" in str(error)
        except _TooLong:
            is_open = True
        if not is_open:
            # Only a lenient reading says where the record ends.
            source.read_again()
            try:
                next(dialect.reader(source, strict=False), None)
            except (_TooLong, csv.Error):
                is_open = True
        is_open = is_open or _is_open(source.taken, dialect)
        if is_open:
            yield from _never_closed(number, source.taken)
            yield from _never_closed(number + len(source.taken), source.rest())
            return
        yield Record(number, b"\n".join(source.taken), None, BAD_QUOTES)
        number += len(source.taken)


def json_values(chunks: Iterable[bytes]) -> Iterator[Record]:
    """The values of a JSON array, or of JSON values that follow one another whatever the line breaks, each
    with its place in the file as number. Raises DamagedFile where the text is not JSON."""
    text = _Text(chunks)
    number, inside, is_first = 0, False, True
    while True:
        sign = text.skip_blanks()
        if not sign:
            if inside:
                raise DamagedFile(f"the JSON array is not closed: the file ends on line {text.line}")
            return
        if inside and sign == "]":
            text.take(1)
            inside = False
            continue
        if inside and not is_first:
            if sign != ",":
                raise DamagedFile(f"not valid JSON on line {text.line}: a comma is missing between values")
            text.take(1)
            text.skip_blanks()
        elif not inside and sign == "[":
            text.take(1)
            inside, is_first = True, True
            continue
        number, is_first = number + 1, False
        yield Record(number, _bytes(text.value()), None, None)


def holds_json_values(head: bytes) -> bool:
    """Whether a file that begins so is an array of objects or has objects over several lines, instead of one
    object a line."""
    text = head.decode("utf-8", errors="replace").lstrip()
    if text.startswith("["):
        return text[1:].lstrip()[:1] in ("{", "]")
    if not text.startswith("{"):
        return False
    try:
        _, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return "\n" in text[:end]


_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)


class _TooLong(Exception):
    """A record is longer than MAX_RECORD_BYTES."""


class _Feed:
    """Lines for the csv module, which remembers the lines of the current record."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._again: list[bytes] = []
        self._bytes = 0
        self.taken: list[bytes] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        self._bytes = len(line) + (self._bytes if self.taken else 0)
        self.taken.append(line)
        if self._bytes > MAX_RECORD_BYTES:
            raise _TooLong
        text = line.decode("utf-8", errors="surrogateescape")
        return (text.replace("\r", _CARRIAGE_RETURN) if "\r" in text else text) + "\n"

    def read_again(self) -> None:
        """Gives the lines of the current record once more."""
        self._again, self.taken = self.taken[::-1], []

    def rest(self) -> Iterator[bytes]:
        """The lines that are not taken yet."""
        yield from reversed(self._again)
        yield from self._lines


class _Text:
    """Text that arrives in pieces, of which one JSON value after the other is taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._at, self._ended = "", 0, False
        self._lines_before = 0

    @property
    def line(self) -> int:
        """The 1-based line that is reached."""
        return self._lines_before + self._text.count("\n", 0, self._at) + 1

    def skip_blanks(self) -> str:
        """Goes to the next character that is not blank; returns it, empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(1):
                return ""

    def take(self, count: int) -> None:
        """Goes on by `count` characters."""
        self._at += count

    def value(self) -> str:
        """The text of the value that begins here. Raises DamagedFile when there is none."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended or not self._more(1):
                    start, self._at = self._at, end
                    return self._text[start:end]
            except RecursionError:
                raise DamagedFile(f"the JSON on line {self.line} is nested too deeply") from None
            except ValueError as error:
                line = self._lines_before + getattr(error, "lineno", 1)
                left = len(self._text) - self._at
                if left > _MAX_VALUE_CHARACTERS or not self._more(max(left, 1)):
                    reason = getattr(error, "msg", str(error))
                    raise DamagedFile(f"not valid JSON on line {line}: {reason}") from None

    def _more(self, characters: int) -> bool:
        """Reads on by at least `characters`; False when nothing is left. What was taken is let go."""
        self._lines_before += self._text.count("\n", 0, self._at)
        pieces, wanted = [self._text[self._at :]], characters
        while wanted > 0 and not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            piece = self._decoder.decode(chunk or b"", final=self._ended)
            pieces.append(piece)
            wanted -= len(piece)
        self._text, self._at = "".join(pieces), 0
        return wanted < characters


def _is_open(taken: list[bytes], dialect: Dialect) -> bool:
    """Whether these lines end inside a quoted field."""
    ends = _Feed([*taken, b""])
    next(dialect.reader(ends, strict=False), None)
    return len(ends.taken) > len(taken)


def _never_closed(number: int, lines: Iterable[bytes]) -> Iterator[Record]:
    for offset, line in enumerate(lines):
        yield Record(number + offset, line, None, NOT_CLOSED)


def _bytes(text: str) -> bytes:
    return text.replace(_CARRIAGE_RETURN, "\r").encode("utf-8", errors="surrogateescape")
