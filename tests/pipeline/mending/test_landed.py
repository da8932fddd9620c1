"""Lines of a person leave landed files of every kind, and no other line does."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from pipeline.mending.files import mending_job
from pipeline.mending.landed import rewrite_without
from spark_jobs.landing.erased import user_digest
from tests.spark_jobs.landed import jsonl

ANN = user_digest("films", "ann")


def test_lines_leave_plain_and_compressed_text_and_other_files_stay_untouched(log, event):
    jsonl(log.landing / "1.jsonl", event("ann"), event("bob"), '{"u": "ann"', event("ann"))
    jsonl(log.landing / "2.jsonl", event("bob"))
    (log.landing / "3.jsonl.gz").write_bytes(gzip.compress((log.landing / "1.jsonl").read_bytes()))
    untouched = (log.landing / "2.jsonl").stat()
    jsonl(log.landing / "4.jsonl", event("ann"))
    found = rewrite_without(log.spark, mending_job(log.config, log.settings), ANN)
    assert (found.lines, found.files, found.kept) == (7, ("1.jsonl", "3.jsonl.gz", "4.jsonl"), ())
    bob = (log.landing / "2.jsonl").read_bytes()
    assert (log.landing / "1.jsonl").read_bytes() == bob
    assert gzip.decompress((log.landing / "3.jsonl.gz").read_bytes()) == bob
    assert (log.landing / "4.jsonl").read_bytes() == b"" and (log.landing / "2.jsonl").stat() == untouched
    assert rewrite_without(log.spark, mending_job(log.config, log.settings), ANN).files == ()


@pytest.mark.parametrize(
    ("form", "write", "read"),
    [("parquet", pq.write_table, pq.read_table), ("orc", orc.write_table, orc.read_table)],
)
def test_rows_leave_a_file_of_typed_columns(log, form, write, read):
    table = pa.table(
        {"u": ["ann", "bob", "ann"], "i": ["1", "2", "3"], "t": [1_767_225_600] * 3, "x": [1, 2, 3]}
    )
    write(table, log.landing / f"a.{form}")
    config = log.mapped(files=(f"*.{form}",), format=form)
    assert rewrite_without(log.spark, mending_job(config, log.settings), ANN).lines == 2
    assert read(log.landing / f"a.{form}").to_pydict()["x"] == [2]


def test_a_table_is_left_to_its_owner(log):
    rows = log.spark.createDataFrame(
        [("ann", "1", 1_767_225_600), ("bob", "2", 1_767_225_600)], "u string, i string, t long"
    )
    rows.write.format("delta").save(str(log.landing / "views"))
    config = log.mapped(files=(), format=None, table="./views")
    log.ingest(config)
    assert log.users == ["ann", "bob"]
    found = rewrite_without(log.spark, mending_job(config, log.settings), ANN)
    assert (found.lines, found.kept) == (0, (("views@0", "it is a table, which is not rewritten"),))
