"""Random raw lines of an event log: valid events, some broken at the level of a field, a token or a byte.

Everything is a pure function of the seed. A file is written in one of several encodings, line ends and packings, and
`starts_of` reads it back without the code under test: where its records begin, by the rules of docs/landed-files.md.
"""

from __future__ import annotations

import bz2
import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spark_jobs.config import SourceConfig
from tests.spark_jobs.landed import source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
COLUMNS = ("u", "i", "t", "a", "w", "p")
LINES_A_FILE = 50
INTACT_SHARE = 0.4

ODD = (
    None, True, False, "", " ", "\t", "nan", "None", "NULL", "\\N", "<na>", "null", "007", "7.0", " 7", "7e+0", "1e3",
    "-0", "+7", 7, 7.0, -0.0, -1, 0.1, 2**53 + 1, 10**30, "9" * 400, "x" * 256, "x" * 257, "x\u0000", "a\nb", "a\rb",
    "\u202eabc", "e\u0301", "\U0001f3ac", "\ud800", "\ufeff7", "\u00a0", "'", '"', '""', "a,b", "a;b", "`", "\\", "\\\\",
    [], [1, 2], {}, {"a": {"b": []}}, [[[]]], "view", "VIEW", "buy", "yesterday", "2026-01-01", "2026-01-01T00:00:00Z",
    "2026-02-30", "24:00", "0000-00-00", T * 1000, -T, 0, 253_402_300_800, "1767225600.5", " 1767225600 ", "Infinity",
    "-Infinity", "NaN", "1_767", "0x10", "1767225600L", "${x}", "$(id)", "%s", "../../etc/passwd",
)  # fmt: skip
"""Values that a field may hold by mistake."""
ODD_BYTES = (
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x0c", b"\r",
    b"\n", b"\x1c", b"\x1f", b"\x7f", b"\xef\xbb\xbf", b"\\", b"\\u0000", b"\\ud800", b"\\x", b"'", b"{", b"}", b"[", b"]",
    b",", b":", b"[" * 2000, b'{"a":' * 500, b"1e999", b"//", b"#", b"\t", b" ", b"e", b"-", b".",
)  # fmt: skip
"""Bytes that a line may get by mistake."""
QUOTE = b'"'
_RAW = (
    "1e400",
    "-",
    "NaN",
    "Infinity",
    "01",
    "1.",
    ".5",
    "0x1F",
    "'single'",
    "undefined",
    '"\\q"',
    "1e",
    "tru",
)
"""Texts that are no JSON value, or one that no double holds."""


@dataclass(frozen=True)
class RandomFile:
    """One landed file."""

    name: str
    content: bytes
    """What lies on the disk."""
    text: bytes
    """The same unpacked, in UTF-8, without a byte-order mark."""
    users: dict[bytes, str]
    """Untouched lines, and the user of each."""

    def write(self, folder: Path) -> None:
        (folder / self.name).write_bytes(self.content)


def mapping(form: str) -> SourceConfig:
    """The source that reads the files of a format, `jsonl` or `csv`."""
    events = {"files": (f"*.{form}*",), "format": form, "action": "a", "watch_seconds": "w", "page": "p"}
    return source(actions=("view", "like"), events=events)


def random_files(form: str, lines: int, seed: int) -> Iterator[RandomFile]:
    """Files of together so many lines (a few more where a mutation broke a line in two)."""
    rng = random.Random(f"{form} {seed}")
    for number in range(-(-lines // LINES_A_FILE)):
        yield _file(rng, form, f"{number:05d}")


def starts_of(file: RandomFile, form: str) -> dict[int, bytes | None]:
    """The line number of every record; the record's text where it is one line that can be told from its neighbours."""
    lines = [line.rstrip(b"\r") for line in file.text.split(b"\n")]
    if not lines[-1]:
        lines.pop()
    if form == "jsonl":
        return dict(enumerate(lines, start=1))
    found = _records(lines)
    del found[1]  # the names of the columns
    return found


def _records(lines: list[bytes]) -> dict[int, bytes | None]:
    """Records of comma-separated lines with quotes."""
    found: dict[int, bytes | None] = {}
    first = at = 0
    while at < len(lines):
        is_open, malformed = False, False
        first = at
        while at < len(lines):
            is_open, strays = _scan(lines[at], is_open)
            malformed |= strays
            at += 1
            if not is_open:
                break
        if is_open:  # never closed: every line from the first on is a refused one
            return found | dict.fromkeys(range(first + 1, len(lines) + 1))
        found[first + 1] = None if malformed or at > first + 1 else lines[first]
    return found


def _scan(line: bytes, is_open: bool) -> tuple[bool, bool]:
    """Whether a line ends inside quotes, and whether a closing quote is followed by other text."""
    at, at_start, strays = 0, True, False
    while at < len(line):
        sign = line[at : at + 1]
        if is_open:
            if sign == QUOTE and line[at + 1 : at + 2] == QUOTE:
                at += 1
            elif sign == QUOTE:
                is_open, at_start = False, False
                strays |= line[at + 1 : at + 2] not in (b"", b",")
        elif sign == QUOTE and at_start:
            is_open = True
        at_start = sign == b"," and not is_open
        at += 1
    return is_open, strays


def _file(rng: random.Random, form: str, name: str) -> RandomFile:
    users: dict[bytes, str] = {}
    lines = [",".join(COLUMNS).encode()] if form == "csv" else []
    for place in range(LINES_A_FILE):
        user = f"u{name}-{place}"
        event = _event(rng, user)
        line = _json_line(event) if form == "jsonl" else _csv_line(rng, event)
        # The first event stays whole: it decides how the file is read.
        if place == 0 or rng.random() < INTACT_SHARE:
            users[line] = user
        else:
            line = _broken(rng, form, event, line)
        lines.append(line)
    end = rng.choice((b"\n", b"\n", b"\r\n"))
    text = end.join(lines) + rng.choice((end, end, b"", end + end))
    return RandomFile(*_stored(rng, f"{name}.{form}", text), users)


def _stored(rng: random.Random, name: str, text: bytes) -> tuple[str, bytes, bytes]:
    """Name and content on the disk, and the text."""
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"))
    content = text
    if encoding != "utf-8":
        try:
            content = text.decode().encode(encoding)
        except UnicodeError:  # lines of bytes that no text has: they stay as they are
            content = text
    pack, suffix = rng.choice(
        ((bytes, ""), (bytes, ""), (bytes, ""), (gzip.compress, ".gz"), (bz2.compress, ".bz2"))
    )
    return name + suffix, pack(content), text


def _event(rng: random.Random, user: str) -> dict[str, object]:
    return {
        "u": user,
        "i": f"film {rng.randrange(50)}",
        "t": T + rng.randrange(30 * 86_400),
        "a": rng.choice(("view", "like")),
        "w": rng.choice((None, rng.randrange(5000), 1.5)),
        "p": rng.choice((None, "home", 'the "best", of us', "größer")),
    }


def _json_line(event: dict[str, object]) -> bytes:
    return json.dumps(event).encode()


def _csv_line(rng: random.Random, event: dict[str, object]) -> bytes:
    return b",".join(_cell(rng, event[name]) for name in COLUMNS)


def _cell(rng: random.Random, value: object) -> bytes:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    cell = text.encode("utf-8", errors="surrogatepass")
    if rng.random() < 0.2 or re.search(rb'[",\r\n]', cell):
        return QUOTE + cell.replace(QUOTE, QUOTE * 2) + QUOTE
    return cell


def _broken(rng: random.Random, form: str, event: dict[str, object], line: bytes) -> bytes:
    """A line with one to three mistakes."""
    level = rng.choice(("field", "field", "token", "byte"))
    if level == "field":
        return _json_fields(rng, event) if form == "jsonl" else _csv_fields(rng, event)
    change = _token if level == "token" else _bytes
    for _ in range(rng.randint(1, 3)):
        line = change(rng, line)
    return line


def _json_fields(rng: random.Random, event: dict[str, object]) -> bytes:
    pairs = [(key, json.dumps(value)) for key, value in event.items()]
    for _ in range(rng.randint(1, 2)):
        at, odd = rng.randrange(len(pairs)), json.dumps(rng.choice(ODD))
        key, value = pairs[at]
        kind = rng.choice(("odd", "odd", "raw", "dropped", "twice", "renamed", "more"))
        if kind == "odd":
            pairs[at] = (key, odd)
        elif kind == "raw":
            pairs[at] = (key, rng.choice(_RAW))
        elif kind == "dropped" and len(pairs) > 1:
            del pairs[at]
        elif kind == "twice":
            pairs.insert(rng.randrange(len(pairs) + 1), (key, odd))
        elif kind == "renamed":
            pairs[at] = (rng.choice((key.upper(), f" {key}", "", f"{key}.x")), value)
        else:
            pairs.append((f"extra{rng.randrange(3)}", odd))
    rng.shuffle(pairs)
    colon, comma = rng.choice((":", ": ", " : ", ":\t")), rng.choice((",", ", ", " ,"))
    return ("{" + comma.join(f"{json.dumps(key)}{colon}{value}" for key, value in pairs) + "}").encode()


def _csv_fields(rng: random.Random, event: dict[str, object]) -> bytes:
    cells = [_cell(rng, event[name]) for name in COLUMNS]
    at = rng.randrange(len(cells))
    kind = rng.choice(("odd", "odd", "odd", "fewer", "more", "quotes"))
    if kind == "odd":
        cells[at] = _cell(rng, rng.choice(ODD))
    elif kind == "fewer":
        del cells[at:]
    elif kind == "more":
        cells.insert(at, _cell(rng, rng.choice(ODD)))
    else:
        cells[at] = rng.choice((b'"a"b', b'a"b', b'"a""', b'""a', b'"""', b' "a"', b'"a" ', b'""', b'"a\nb"'))
    return b",".join(cells)


def _token(rng: random.Random, line: bytes) -> bytes:
    tokens = re.findall(rb'["{}\[\]:,]|[^"{}\[\]:,]+', line)
    if not tokens:
        return line
    at = rng.randrange(len(tokens))
    kind = rng.randrange(4)
    if kind == 0:
        del tokens[at]
    elif kind == 1:
        tokens.insert(at, tokens[rng.randrange(len(tokens))])
    elif kind == 2:
        other = rng.randrange(len(tokens))
        tokens[at], tokens[other] = tokens[other], tokens[at]
    else:
        tokens[at] = rng.choice(ODD_BYTES)
    return b"".join(tokens)


def _bytes(rng: random.Random, line: bytes) -> bytes:
    at, other = sorted(rng.randrange(len(line) + 1) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return line[:at] + rng.choice(ODD_BYTES) + line[at:]
    if kind == 1:
        return line[:at] + rng.randbytes(1) + line[at + 1 :]
    if kind == 2:
        return line[:at]
    if kind == 3:
        return line[:at] + line[other:]
    if kind == 4:
        return line + line[at:]
    return rng.randbytes(rng.randrange(40))
