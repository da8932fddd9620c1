"""Whole files: records by one task a file, on local disks and through Hadoop, and what damage does."""

from __future__ import annotations

import gzip

import pytest
from pyspark.sql import functions as F

from spark_jobs.landing import whole_files as module
from spark_jobs.landing.files import find
from spark_jobs.landing.records import Dialect
from spark_jobs.landing.unpacking import DamagedFile
from spark_jobs.landing.whole_files import first_records, heads_of, whole_files

COMMA = Dialect(",", '"', None)


@pytest.fixture
def files(spark, landing):
    """A good, a torn and an odd file, found through Hadoop too."""
    (landing / "good.csv.gz").write_bytes(gzip.compress(b'u,i\n"a\nb",1\nc,\xff\n'))
    (landing / "torn.csv").write_bytes(gzip.compress(b"u,i\nforged,1\n" * 200_000)[:-9])
    (landing / "zip.csv").write_bytes(b"PK\x03\x04")
    settings = spark._jsc.hadoopConfiguration()
    settings.set("fs.viewfs.mounttable.whole.link./landed", landing.as_uri())
    yield {
        "local": find(spark, str(landing), ("*",)),
        "hadoop": find(spark, "viewfs://whole/landed", ("*",)),
    }
    settings.unset("fs.viewfs.mounttable.whole.link./landed")


@pytest.mark.parametrize("kind", ["local", "hadoop"])
def test_a_damaged_file_gives_no_line_and_the_others_all_of_theirs(spark, files, kind):
    good, torn, packed = files[kind]
    unreadable: dict[str, str] = {}
    heads = heads_of(spark, [good, torn, packed], unreadable)
    assert list(unreadable) == [packed.file_id]
    assert heads[good.file_id].first_line == b"u,i"
    rows, counts, seen = whole_files(spark, [good, torn], COMMA, unreadable, F.max("__line_number"))
    assert (counts, seen) == ({good.file_id: 3}, {good.file_id: 4})
    assert unreadable[torn.file_id].startswith("damaged gzip file: ")
    found = rows.withColumn("valid", F.expr("is_valid_utf8(__raw)")).orderBy("__line_number").collect()
    assert [(row["__line_number"], row["valid"], row["__problem"]) for row in found] == [
        (1, True, None),
        (2, True, None),
        (4, False, None),
    ]
    assert found[1]["__fields"] == ["a\nb", "1"]


def test_a_large_file_of_an_object_store_is_refused_before_it_is_loaded(spark, files, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST_REMOTE_BYTES", 10)
    unreadable: dict[str, str] = {}
    _, counts, _ = whole_files(spark, files["hadoop"][:1], COMMA, unreadable)
    assert counts == {} and "larger than 1 GiB" in next(iter(unreadable.values()))


def test_the_first_records_of_a_file(files):
    good, torn, _ = files["local"]
    assert [record.number for record in first_records(good, COMMA, 2)] == [1, 2]
    assert len(first_records(torn, None, 3)) == 3
    with pytest.raises(DamagedFile):
        first_records(torn, None, 1_000_000)
