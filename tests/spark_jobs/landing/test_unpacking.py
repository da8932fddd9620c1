"""Bytes as lines: packings, encodings, line ends, and damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib

import pyarrow as pa
import pytest

from spark_jobs.landing.unpacking import DamagedFile, head_of, lines, packed_as

LINES = [f"line {number} é".encode() for number in range(30_000)]
TEXT = b"".join(line + b"\n" for line in LINES)
PACKED = {
    "gzip": gzip.compress(TEXT),
    "bz2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "lzma": lzma.compress(TEXT, format=lzma.FORMAT_ALONE),
    "zlib": zlib.compress(TEXT),
    "zstd": pa.compress(TEXT, "zstd", asbytes=True),
    "lz4": pa.Codec("lz4").compress(TEXT, asbytes=True),
}


def read(content: bytes, name: str = "a.jsonl") -> list[bytes]:
    return list(lines(io.BytesIO(content), name))


@pytest.mark.parametrize("codec", PACKED)
def test_the_first_bytes_tell_the_packing_whatever_the_name(codec):
    packed = PACKED[codec]
    assert packed_as(packed, "a.jsonl") == codec
    assert read(packed, "a.jsonl") == LINES
    assert read(packed + packed, "A.GZ") == LINES + LINES, "several members"
    assert head_of(io.BytesIO(packed), "a").first_line == b"line 0 \xc3\xa9"


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("lost", [1, 9, 1000])
def test_a_torn_file_is_damaged(codec, lost):
    with pytest.raises(DamagedFile, match=f"^damaged {codec} file: [^\n]+$"):
        read(PACKED[codec][:-lost])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_encodings_are_read_with_and_without_a_mark(encoding):
    content = TEXT.decode().encode(encoding)
    assert read(content) == LINES
    assert read(gzip.compress(content)) == LINES
    assert head_of(io.BytesIO(content), "a.csv").is_plain == (encoding == "utf-8-sig")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_ends(line_end):
    content = TEXT.replace(b"\n", line_end)
    assert read(content) == LINES
    assert read(content.rstrip(b"\r\n")) == LINES
    assert head_of(io.BytesIO(content), "a.csv").is_plain == (line_end != b"\r")


def test_empty_files_and_blank_lines():
    assert read(b"") == read(gzip.compress(b"")) == []
    assert read(b"\n\nx") == [b"", b"", b"x"]
    assert (head_of(io.BytesIO(b""), "a").first_line, head_of(io.BytesIO(b"\r\n"), "a").first_line) == (
        None,
        b"",
    )


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (b"PK\x03\x04 etc", "a.jsonl", "this is a zip archive (or an Excel workbook); land it as text"),
        (b"PAR1 etc", "a.csv", 'this is a Parquet file; give the mapping format = "parquet"'),
        (b"\x00\x01\x02", "a.jsonl.gz", "damaged gz file: its first bytes are neither a packing"),
        (b"\x0b\x02\x80{}", "a.jsonl.br", "damaged br file: its first bytes are neither a packing"),
        (b"BZh9", "a.jsonl.bz2", "damaged bz2 file: "),
        (b"\xff\x06\x00\x00sNaPpY", "a.jsonl", "this is a snappy file; land it as text"),
        (
            gzip.compress(gzip.compress(TEXT)),
            "a.gz",
            "it is packed twice, as gzip within gzip; unpack it once",
        ),
        (bz2.compress(b"PK\x03\x04"), "a.bz2", "this is a zip archive"),
        (
            TEXT.decode().encode("utf-16")[:-1],
            "a.csv",
            "not valid UTF-16-LE: truncated data; land it as UTF-8",
        ),
    ],
)
def test_other_kinds_of_files_are_named_with_the_remedy(content, name, why):
    with pytest.raises(DamagedFile) as refused:
        read(content, name)
    assert str(refused.value).startswith(why)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            b"\n<!DOCTYPE HTML>\n<html>502</html>",
            "this is an HTML page, as a failed download leaves it; land the log",
        ),
        (b"<html>", "this is an HTML page"),
        (b"<?xml version='1.0'?>", "this is an XML document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "this is a pointer of Git LFS"),
    ],
)
def test_text_of_another_kind_is_named_packed_or_not(text, why):
    for content in (text, gzip.compress(text), text.decode().encode("utf-16")):
        with pytest.raises(DamagedFile) as refused:
            head_of(io.BytesIO(content), "a.jsonl")
        assert str(refused.value).startswith(why)


def test_an_archive_is_no_text():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("a.jsonl")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"{}\n"))
    with pytest.raises(DamagedFile, match="tar archive; unpack it"):
        read(archive.getvalue())


def test_text_named_as_packed_is_text_that_spark_would_not_read_as_such():
    assert read(b'{"u": 1}\n', "a.jsonl.gz") == [b'{"u": 1}']
    assert not head_of(io.BytesIO(b'{"u": 1}\n'), "a.jsonl.GZ").is_plain
    assert read(b"x^2,y\n", "a.csv") == [b"x^2,y"]
    assert read(b"BZh9,y\n", "a.csv") == [b"BZh9,y"]


def test_the_head_of_a_longer_file_may_end_anywhere():
    head = io.BytesIO(PACKED["gzip"][: len(PACKED["gzip"]) // 2])
    assert head_of(head, "a", is_cut=True).first_line == b"line 0 \xc3\xa9"
