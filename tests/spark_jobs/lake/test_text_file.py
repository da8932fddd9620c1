"""A small file in the lake is replaced whole, by path and by URI."""

from __future__ import annotations

import pytest

from spark_jobs.lake.text_file import replace_text


@pytest.mark.parametrize("prefix", ["", "file://", "file:"])
def test_a_file_is_made_with_its_folder_and_replaced(spark, tmp_path, prefix):
    path = tmp_path / "lake" / "films" / "passed.json"
    for text in ("first", "the second, né"):
        replace_text(spark, f"{prefix}{path}", text)
        assert path.read_text() == text
    assert {one.name for one in path.parent.iterdir()} <= {"passed.json", ".passed.json.crc"}
