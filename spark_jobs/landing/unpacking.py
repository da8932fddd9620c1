"""Bytes of a text file as lines of UTF-8: packed or not, in any of the usual encodings and line ends.

From a stream of bytes to lines without their ends. The first bytes decide, never the file's name: gzip, bz2,
xz, lzma, zstd, lz4 and zlib are unpacked, with several members too; UTF-16 and UTF-32 are decoded; a byte-order
mark is dropped; lines end with a line feed, or with a carriage return where the file has no line feed.
Knows no Spark: it runs on the driver for the first bytes and on the executors for whole files.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

HEAD_BYTES = 1 << 20
"""Bytes at the beginning of a file that decide how it is read; a header line must fit."""
_CHUNK_BYTES, _HEAD_CHUNK_BYTES = 1 << 20, 1 << 16
_PACKED_SUFFIXES = (
    ".gz",
    ".gzip",
    ".bz2",
    ".zst",
    ".xz",
    ".deflate",
    ".lz4",
    ".lzma",
    ".br",
    ".snappy",
    ".lzo",
    ".z",
)
"""Suffixes of packed files. Spark unpacks by some of them, whatever the bytes are."""
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"]\x00\x00": "lzma",
    b"(\xb5/\xfd": "zstd",
    b"\x04\x22M\x18": "lz4",
    b"x\x01": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (or an Excel workbook)",
    b"PK\x05\x06": "an empty zip archive",
    b"PAR1": 'a Parquet file; give the mapping format = "parquet"',
    b"Obj\x01": 'an Avro file; give the mapping format = "avro"',
    b"ORC": 'an ORC file; give the mapping format = "orc"',
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"SQLite format 3\x00": "an SQLite database",
    b"ARROW1": "an Arrow file",
    b"%PDF": "a PDF",
    b"\x1f\x9d": "a file packed by compress",
    b"\xff\x06\x00\x00sNaPpY": "a snappy file",
    b"\x89LZO": "an LZO file",
    b"LZIP": "a lzip file",
    b"\x02!L\x18": "an lz4 file of the old format",
}
_FOREIGN_TEXT = {
    b"<!doctype html": "an HTML page, as a failed download leaves it",
    b"<html": "an HTML page, as a failed download leaves it",
    b"<?xml": "an XML document",
    b"version https://git-lfs": "a pointer of Git LFS instead of the file",
}
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark begins it
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What the unpacking libraries raise for damaged content."""

_OPENERS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "lzma": lzma.LZMAFile,
    "zstd": lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"),
    "lz4": lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, "r"), "lz4"),
}


class DamagedFile(ValueError):
    """A file of which no line can be read; the message is the reason, one line."""


@dataclass(frozen=True)
class Head:
    """What the first bytes of a file say."""

    codec: str | None
    """How the file is packed; None when it is not."""
    text: bytes
    """The first bytes, unpacked, in UTF-8, without a byte-order mark."""
    line_end: bytes
    is_plain: bool
    """Whether Spark's text reader gives the same lines: unpacked UTF-8 with line feeds."""

    @property
    def first_line(self) -> bytes | None:
        """The first line without its end; None for an empty file."""
        return self.text.split(self.line_end, 1)[0].rstrip(b"\r") if self.text else None


def head_of(stream: BinaryIO, name: str, is_cut: bool = False) -> Head:
    """What the beginning of a file says; `is_cut` when the stream is not the whole file. Raises DamagedFile for a file
    that is no text or begins damaged."""
    first = stream.read(HEAD_BYTES)
    codec = packed_as(first, name)
    stream.seek(0)
    text = b""
    try:
        # Small pieces, so that a cut stream gives what it has.
        for chunk in _decoded(_unpacked(stream, codec, _HEAD_CHUNK_BYTES)):
            text += chunk
            if len(text) >= HEAD_BYTES:
                break
    except DamagedFile:
        if not (is_cut and text):
            raise
    start = text[:100].lstrip().lower()
    for beginning, kind in _FOREIGN_TEXT.items():
        if start.startswith(beginning):
            raise DamagedFile(f"this is {kind}; land the log's own file")
    line_end = _line_end(text)
    is_plain = (
        codec is None
        and line_end == b"\n"
        and _encoding(first)[0] == "utf-8"
        and not name.lower().endswith(_PACKED_SUFFIXES)
    )
    return Head(codec, text, line_end, is_plain)


def packed_as(first: bytes, name: str) -> str | None:
    """The codec that a file's first bytes show; None for text. Raises DamagedFile for other kinds of files."""
    for magic, kind in _FOREIGN.items():
        if first.startswith(magic):
            remedy = (
                ""
                if "format" in kind
                else "; land it as text or Parquet (text may be packed as gz, bz2, xz or zst)"
            )
            raise DamagedFile(f"this is {kind}{remedy}")
    lower = name.lower()
    for magic, codec in _PACKED.items():
        # Text may begin with BZh.
        sure = codec != "bz2" or lower.endswith(".bz2") or first[4:10] in (b"1AY&SY", b"\x17rE8P\x90")
        if first.startswith(magic) and sure:
            return codec
    if first.startswith(b"x^") and lower.endswith((".deflate", ".zz", ".zlib")):
        return "zlib"
    if lower.endswith(_PACKED_SUFFIXES) and first and not _is_text(first):
        suffix = lower.rsplit(".", 1)[-1]
        raise DamagedFile(
            f"damaged {suffix} file: its first bytes are neither a packing that can be read (gz, bz2, xz, zst, lz4, deflate) nor text"
        )
    return None


def lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The file's lines, without their ends and without carriage returns before these, in UTF-8 where the file
    is valid. Raises DamagedFile as soon as the damage is reached."""
    chunks = text_chunks(stream, name)
    kept = b""
    for chunk in chunks:
        kept += chunk
        if b"\n" in kept or len(kept) >= HEAD_BYTES:
            break
    line_end = _line_end(kept)
    for chunk in chunks:
        *whole, kept_more = chunk.split(line_end)
        if not whole:
            kept += kept_more
            continue
        for line in (kept + whole[0]).split(line_end):
            yield line.rstrip(b"\r")
        yield from (line.rstrip(b"\r") for line in whole[1:])
        kept = kept_more
    *whole, last = kept.split(line_end)
    yield from (line.rstrip(b"\r") for line in whole)
    if last:
        yield last.rstrip(b"\r")


def text_chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The file's text in pieces. Raises DamagedFile as soon as the damage is reached."""
    first = stream.read(HEAD_BYTES)
    stream.seek(0)
    return _decoded(_unpacked(stream, packed_as(first, name)))


def _unpacked(stream: BinaryIO, codec: str | None, size: int = _CHUNK_BYTES) -> Iterator[bytes]:
    """The unpacked bytes. Raises DamagedFile where they end or break before their time."""
    try:
        if codec == "zlib":
            yield from _inflated(stream)
            return
        opened = stream if codec is None else _OPENERS[codec](stream)
        is_first = True
        while chunk := opened.read(size):
            if is_first and chunk[257:262] == b"ustar":
                raise DamagedFile("this is a tar archive; unpack it and land its files")
            if is_first and codec and (again := packed_as(chunk, "")):
                raise DamagedFile(f"it is packed twice, as {again} within {codec}; unpack it once")
            is_first = False
            yield chunk
    except _DAMAGE as error:
        if codec is None:
            raise
        raise DamagedFile(f"damaged {codec} file: {' '.join(str(error).split())}") from None


def _inflated(stream: BinaryIO) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    while packed := stream.read(_CHUNK_BYTES):
        while packed:
            if inflater.eof:
                inflater = zlib.decompressobj()
            yield inflater.decompress(packed)
            packed = inflater.unused_data
    if not inflater.eof:
        raise EOFError("it ends before its end-of-stream marker")


def _decoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes in UTF-8 without a byte-order mark; UTF-8 itself is not checked."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= 4:
            break
    encoding, mark = _encoding(first)
    first = first[mark:]
    if encoding == "utf-8":
        if first:
            yield first
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield decoder.decode(first).encode()
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise DamagedFile(f"not valid {encoding.upper()}: {error.reason}; land it as UTF-8") from None


def _encoding(first: bytes) -> tuple[str, int]:
    """The encoding, and the length of the byte-order mark. Without a mark, NUL bytes between ASCII characters
    show UTF-16 and UTF-32."""
    for mark, encoding in _MARKS.items():
        if first.startswith(mark):
            return encoding, len(mark)
    zeros = tuple(byte == 0 for byte in first[:4])
    shapes = {
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
    }
    return shapes.get(zeros, "utf-8"), 0


def _line_end(text: bytes) -> bytes:
    """A line feed; a carriage return where there is no line feed but carriage returns before the end."""
    return b"\r" if b"\n" not in text and b"\r" in text.rstrip(b"\r") else b"\n"


def _is_text(first: bytes) -> bool:
    decoded = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoded.decode(first)
    except UnicodeError:
        return _encoding(first)[0] != "utf-8"
    return not any(character < " " and character not in "\t\r\n\f" for character in text)
