"""What a table's log says without Spark: numbers of rows, files, and small tables whole."""

from __future__ import annotations

import json

import pytest

from expectations.delta_log import LogError, file_name, file_names, row_count, rows, storage_options
from expectations.tables import RANKS, VOCABULARY
from tests.model import lake as tiny


def known(*items: int) -> list[dict[str, object]]:
    return [
        {
            "cycle": "a",
            "item_token": item,
            "item_index": item,
            "event_count": 1,
            "added_in": "a",
            "retired": False,
        }
        for item in items
    ]


def test_rows_and_files_of_a_version(tmp_path):
    place = (str(tmp_path), tiny.SOURCE, VOCABULARY)
    first = tiny.write(tmp_path, VOCABULARY, known(3, 1))
    before = file_names(*place)
    tiny.write(tmp_path, VOCABULARY, known(7))
    assert row_count(*place) == 3
    assert sorted(row["item_index"] for row in rows(*place)) == [1, 3, 7]
    assert file_names(*place, first) == before < file_names(*place)
    folder = tmp_path / tiny.SOURCE / VOCABULARY.name
    assert file_names(*place) == {path.name for path in folder.rglob("*.parquet")}
    with pytest.raises(LogError, match="vocabulary cannot be read at version 9: "):
        file_names(*place, 9)


def test_a_table_that_is_not_there_has_no_rows(tmp_path):
    place = (str(tmp_path), tiny.SOURCE, RANKS)
    assert row_count(*place) == 0 and rows(*place) == []
    with pytest.raises(LogError, match="ranks cannot be read: "):
        file_names(*place)


def test_without_statistics_the_number_of_rows_is_not_known(tmp_path):
    tiny.write(tmp_path, VOCABULARY, known(3, 1))
    log = tmp_path / tiny.SOURCE / VOCABULARY.name / "_delta_log"
    for path in log.glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for action in actions:
            action.get("add", {}).pop("stats", None)
        path.write_text("".join(json.dumps(action) + "\n" for action in actions))
    assert row_count(str(tmp_path), tiny.SOURCE, VOCABULARY) is None
    assert len(rows(str(tmp_path), tiny.SOURCE, VOCABULARY)) == 2


def test_the_name_of_a_file_is_the_same_however_it_is_addressed():
    assert file_name("s3a://bucket/t/day=2026-01-01/part%201.parquet") == file_name("/t/part 1.parquet")


def test_s3_is_told_to_refuse_a_second_commit_and_a_folder_nothing(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert storage_options("/lake/log/events") == storage_options("gs://bucket/lake") == {}
    assert storage_options("s3a://bucket/lake") == {
        "aws_endpoint_url": "http://127.0.0.1:9000",
        "aws_allow_http": "true",
        "aws_conditional_put": "etag",
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store")
    assert "aws_allow_http" not in storage_options("s3://bucket/lake")
