"""`check-source` says what a mapping understands of its log."""

from __future__ import annotations

import pytest

from pipeline.config import ConfigError
from pipeline.presets import load
from pipeline.sources.check import check_source
from tests.spark_jobs.landed import jsonl

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC

PLAIN = """
[source]
name = "mine"
[source.events]
files = ["log/*.jsonl"]
format = "jsonl"
user = "who"
item = "what"
time = "at"
"""


def page(path, home) -> str:
    said: list[str] = []
    check_source(path, home, said.append)
    return "\n".join(said)


def test_a_log_with_only_user_item_and_time(spark, home, tmp_path):
    (tmp_path / "mine.toml").write_text(PLAIN)
    lines = [{"who": f"u{n % 3}", "what": f"f{n % 5}", "at": T + 3600 * n, "extra": 1} for n in range(40)]
    jsonl(tmp_path / "log" / "1.jsonl", *lines, "broken", {"who": "u1", "at": T})
    said = page(tmp_path / "mine.toml", home)
    assert "events: 1 file(s), jsonl" in said
    assert "at → time, what → item, who → user" in said and "columns not used: extra" in said
    assert "of 42 sampled lines 40 would be accepted, 2 refused" in said
    assert "1  not valid JSON" in said and "broken" in said and "1  missing item" in said
    assert "40 events of 3 users on 5 items" in said
    assert "from 2026-01-01 00:00 to 2026-01-02 15:00 UTC" in said
    assert "filled: user, item and time only" in said
    assert "the sample spans 1.6 days, the window is 28 days" in said
    assert "task C (availability-driven) is not applicable" in said
    assert not (home.home / "lake").exists()


def test_items_are_looked_at_too(spark, home, tmp_path):
    described = '[[source.items]]\nfiles = ["films.csv"]\nformat = "csv"\nitem = "id"\ntitle = "name"\nlaunched_at = "out"\n'
    (tmp_path / "mine.toml").write_text(PLAIN + described)
    jsonl(
        tmp_path / "log" / "1.jsonl", {"who": "a", "what": "f1", "at": T}, {"who": "a", "what": "f2", "at": T}
    )
    (tmp_path / "films.csv").write_text("id,name,out\nf1,Up,2025-12-24\nf2,Heat,soon\n")
    said = page(tmp_path / "mine.toml", home)
    assert "items: 1 file(s), csv" in said and "id → item" in said
    assert "1  refused: launched_at is not an instant" in said
    assert "50% have title" in said and "50% have a launch date" in said


def test_a_mapping_that_does_not_fit_is_one_line(spark, home, tmp_path):
    (tmp_path / "mine.toml").write_text(PLAIN)
    with pytest.raises(ConfigError, match=r"no file matches events\.files = log/\*\.jsonl"):
        page(tmp_path / "mine.toml", home)
    jsonl(tmp_path / "log" / "1.jsonl", {"user": "a", "what": "f1", "at": T})
    with pytest.raises(
        ConfigError, match=r"events\.user = 'who' names column who.*columns are: at, user, what"
    ):
        check_source(load(str(tmp_path / "mine.toml")), home, print)
    jsonl(tmp_path / "log" / "1.jsonl", {"who": "a", "what": "f1", "at": T})
    (tmp_path / "mine.toml").write_text(
        PLAIN.replace("[source.events]", 'high_value = "stars > 3"\n[source.events]')
    )
    with pytest.raises(
        ConfigError, match="source.high_value = 'stars > 3' cannot be used: .*stars.*The columns are: "
    ):
        page(tmp_path / "mine.toml", home)
