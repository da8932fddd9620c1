"""`check-source` shows how a log is read."""

from __future__ import annotations

import gzip
import json
import re
import time

import pytest

from pipeline.config import Config, ConfigError
from pipeline.presets import load
from pipeline.settings import Settings
from pipeline.sources import check, sampling
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


def page(config: Config, home: Settings) -> str:
    lines: list[str] = []
    check.check_source(config, home, lines.append)
    return "\n".join(lines)


def test_a_log_with_only_user_item_and_time(spark, home, tmp_path):
    (tmp_path / "mine.toml").write_text(PLAIN)
    lines = [{"who": f"u{n % 3}", "what": f"f{n % 5}", "at": T + 3600 * n, "extra": 1} for n in range(40)]
    jsonl(tmp_path / "log" / "1.jsonl", *lines, "broken", {"who": "u1", "at": T})
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "events: 1 file(s), jsonl" in text
    assert "at → time, what → item, who → user" in text and "columns not used: extra" in text
    assert "of 42 sampled lines 40 would be accepted, 2 rejected" in text
    assert "1  not valid JSON" in text and "broken" in text and "1  missing item" in text
    assert "40 events of 3 users on 5 items" in text
    assert "from 2026-01-01 00:00 to 2026-01-02 15:00 UTC" in text
    assert "filled: user, item and time only" in text
    assert "the sample spans 1.6 days, the evaluation window is 28 days" in text
    assert "task C (availability-driven) is not applicable" in text
    assert not (home.home / "lake").exists()


def test_a_table_is_read_where_it_lies(spark, home, tmp_path):
    mapping = PLAIN.replace('files = ["log/*.jsonl"]\nformat = "jsonl"', 'table = "./log"')
    (tmp_path / "mine.toml").write_text(
        mapping + '[[source.items]]\ntable = "./log"\nitem = "what"\ntitle = "name"\n'
    )
    rows = spark.range(40).selectExpr(
        "CONCAT('u', id % 3) AS who",
        "IF(id = 7, NULL, CONCAT('f', id % 5)) AS what",
        f"{T} + id AS at",
        "'Up' AS name",
    )
    rows.write.format("delta").save(str(tmp_path / "log"))
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "events: a table, " in text and re.search(r"  log@0  .*40 lines", text)
    assert "who → user, what → item, at → time" in text
    assert "of 40 sampled lines 39 would be accepted, 1 rejected" in text and "1  missing item" in text
    assert "items: a table, " in text and "100% have title" in text
    (tmp_path / "mine.toml").write_text(PLAIN)
    with pytest.raises(ConfigError, match=r"is the folder of a Delta table: .* name it as table = …"):
        page(load(str(tmp_path / "mine.toml")), home)


def test_items_are_shown_too(spark, home, tmp_path):
    described = '[[source.items]]\nfiles = ["films.csv"]\nformat = "csv"\nitem = "id"\ntitle = "name"\nlaunched_at = "out"\n'
    (tmp_path / "mine.toml").write_text(PLAIN + described)
    jsonl(
        tmp_path / "log" / "1.jsonl", {"who": "a", "what": "f1", "at": T}, {"who": "a", "what": "f2", "at": T}
    )
    (tmp_path / "films.csv").write_text("id,name,out\nf1,Up,2025-12-24\nf2,Heat,soon\n")
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "items: 1 file(s), csv" in text and "id → item" in text
    assert "1  kept without launched_at, which is not an instant" in text
    assert "for instance: f1  Up  2025-12-24 00:00:00" in text
    assert "100% have title" in text and "50% have a launch date" in text


def test_a_mapping_that_does_not_fit_is_refused_in_one_line(spark, home, tmp_path):
    (tmp_path / "mine.toml").write_text(PLAIN)
    with pytest.raises(ConfigError, match=r"folder .*/log does not exist; files that match log/\*\.jsonl"):
        page(load(str(tmp_path / "mine.toml")), home)
    (tmp_path / "log").mkdir()
    with pytest.raises(ConfigError, match=r"no file matches events\.files = log/\*\.jsonl"):
        page(load(str(tmp_path / "mine.toml")), home)
    jsonl(tmp_path / "log" / "1.jsonl", {"user": "a", "what": "f1", "at": T})
    with pytest.raises(
        ConfigError, match=r"events\.user = 'who' names column who.*columns are: at, user, what"
    ):
        page(load(str(tmp_path / "mine.toml")), home)
    jsonl(tmp_path / "log" / "1.jsonl", {"who": "a", "what": "f1", "at": T})
    (tmp_path / "mine.toml").write_text(
        PLAIN.replace("[source.events]", 'high_value = "stars > 3"\n[source.events]')
    )
    with pytest.raises(
        ConfigError, match="source.high_value = 'stars > 3' cannot be used: .*stars.*The columns are: "
    ):
        page(load(str(tmp_path / "mine.toml")), home)


def test_of_a_long_text_file_only_the_first_lines_are_read(spark, home, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLE_LINES", 60)
    items = '[[source.items]]\nfiles = ["films.csv"]\nformat = "csv"\nitem = "id"\nlaunched_at = "out"\n'
    (tmp_path / "mine.toml").write_text(PLAIN + items)
    lines = [{"who": f"u{n % 3}", "what": f"f{n % 5}", "at": T + 86_400 * n} for n in range(80)]
    jsonl(tmp_path / "log" / "1.jsonl", *lines)
    (tmp_path / "films.csv").write_text("id,out\n" + "".join(f"f{n},2025-12-24\n" for n in range(5)))
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "60 lines or more" in text and "of 60 sampled lines 60 would be accepted" in text
    assert text.endswith("no problems found") and "possible problems" not in text


def test_packed_files_and_arrays_are_sampled_and_files_that_cannot_be_read_are_named(
    spark, home, tmp_path, monkeypatch
):
    monkeypatch.setattr(sampling, "SAMPLE_LINES", 10)
    (tmp_path / "mine.toml").write_text(PLAIN)
    lines = [json.dumps({"who": f"u{n}", "what": "f", "at": T}, indent=1) for n in range(30)]
    log = tmp_path / "log"
    log.mkdir()
    (log / "array.jsonl").write_text(f"[{', '.join(lines)}]", encoding="utf-16")
    packed = gzip.compress(
        b"".join(line.replace("\n", "").replace(': "f"', ': "g"').encode() + b"\n" for line in lines)
    )
    (log / "packed.jsonl").write_bytes(packed)
    (log / "torn.jsonl").write_bytes(packed[:30])
    (log / "zip.jsonl").write_bytes(b"PK\x03\x04")
    jsonl(log / "retyped.jsonl", *6 * [{"who": "u", "what": "f", "at": "2026-03-01"}])
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "of 26 sampled lines 20 would be accepted, 6 rejected" in text
    retyped = "column at of log/retyped.jsonl was seconds since 1970 and is dates on 100.0 % of its lines"
    assert retyped in text.replace("\u00a0", " ")
    assert "2 of the 5 sampled events files cannot be read, the first is log/torn.jsonl" in text
    assert "no sampled line of log/retyped.jsonl can be used" in text
    assert "time is not an instant, on all 6; has a column another type" in text
    assert re.search(r"torn\.jsonl  30 B  damaged gzip file: ", text)
    assert re.search(r"zip\.jsonl  4 B  this is a zip archive", text)


def test_likely_mistakes_are_named_with_the_key_to_check(spark, home, tmp_path):
    keys = 'actions = ["view", "play"]\nhigh_value = "action = \'play\'"\nreward = "0"\n[source.events]\naction = "a"'
    (tmp_path / "mine.toml").write_text(PLAIN.replace("[source.events]", keys))
    jsonl(tmp_path / "log" / "1.jsonl", {"who": "u", "what": "f", "at": 883_612_800, "a": "view"})
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "no sampled event has the action play: check source.actions and events.action" in text
    assert "the first event is from 1998: check events.time_unit = 'seconds'" in text
    assert "no event is high-value, so there is nothing to learn: check source.high_value" in text
    jsonl(tmp_path / "log" / "1.jsonl", {"who": "u", "what": "f", "at": T, "a": "play"})
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "1 high-value events have no reward above 0: check source.reward = '0'" in text
    assert "every event is high-value: set source.high_value to the actions that are" in text


CATALOGUE = """
[[source.items]]
files = ["films.csv"]
format = "csv"
item = "id"
title = "name"
launched_at = "out"
[[source.tags]]
files = ["films.csv"]
format = "csv"
item = "id"
tag = "split(genres, '|')"
"""


def test_what_does_not_fit_is_named(spark, home, tmp_path):
    (tmp_path / "mine.toml").write_text(PLAIN + CATALOGUE)
    line = {"who": "a", "what": "108", "at": T}
    jsonl(tmp_path / "log" / "1.jsonl", line, line, line | {"what": "77", "at": T + 5})
    films = "id,name,out,genres\n0108,Up,2026-02-01,Comedy|Drama\n77,Heat,2026-02-01,Crime\nnone,,,\n"
    (tmp_path / "films.csv").write_text(films)
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "1 of the 3 sampled lines of items files are refused: cycles are red above 5%" in text
    assert "1 lines repeat another exactly" in text and "source.repeats = 'refuse'" in text
    assert "100% of the tags are single characters" in text and "C | o | m" in text
    assert "1 items with events would be known to the items files but for leading zeros" in text
    assert "'108' and '0108'" in text
    assert "33.3% of the events (1) are before their item's launch" in text
    jsonl(tmp_path / "log" / "1.jsonl", line | {"what": "x-1"}, line | {"what": "x-2"})
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert (
        "no line of the items files is about an item with sampled events: ids of events are 'x-1', 'x-2'"
        in text
    )
    assert "those of the items files '0108', '77'" in text


def test_large_losses_are_named_before_the_first_cycle(spark, home, tmp_path):
    (tmp_path / "mine.toml").write_text(PLAIN + 'country = "where_from"\nwhere = "kind = \'prod\'"\n')
    lines = [{"who": f"u{n}", "what": "f", "at": T + n, "where_from": "", "kind": "prod"} for n in range(20)]
    jsonl(tmp_path / "log" / "1.jsonl", *lines, *[lines[0] | {"kind": "test"}] * 300)
    text = page(load(str(tmp_path / "mine.toml")), home).replace("\u00a0", " ")
    assert "events.where excludes 93.8 % of 320 lines" in text
    assert "100.0 % of the events have no country: compare what events.country names" in text


def test_a_session_id_as_event_id_is_pointed_at(spark, home, tmp_path):
    (tmp_path / "mine.toml").write_text(PLAIN + 'event_id = "s"\n')
    jsonl(tmp_path / "log" / "1.jsonl", *({"who": "a", "what": n, "at": T + n, "s": "s1"} for n in range(9)))
    text = page(load(str(tmp_path / "mine.toml")), home)
    assert "8 lines have the event_id of another event with other content" in text


@pytest.mark.parametrize("sql", ["explode(array(who))", "uuid()", "max(who)"])
def test_what_a_cycle_refuses_is_refused(spark, home, tmp_path, sql):
    (tmp_path / "mine.toml").write_text(PLAIN.replace('"who"', f'"{sql}"'))
    jsonl(tmp_path / "log" / "1.jsonl", {"who": "a", "what": "f1", "at": T})
    with pytest.raises(ConfigError, match=r"events\.user = .* cannot be used: \w+\(\)"):
        page(load(str(tmp_path / "mine.toml")), home)


def test_times_are_utc_wherever_the_machine_is(spark, home, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        (tmp_path / "mine.toml").write_text(PLAIN)
        jsonl(tmp_path / "log" / "1.jsonl", {"who": "a", "what": "f1", "at": T})
        text = page(load(str(tmp_path / "mine.toml")), home)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "a        f1       2026-01-01 00:00:00" in text
    assert "from 2026-01-01 00:00 to 2026-01-01 00:00 UTC" in text


def test_events_far_from_all_others_are_stray():
    bulk = dict.fromkeys(range(1000, 1100), 10)
    assert check.stray_dates(bulk) == []
    assert check.stray_dates({0: 5, **bulk}) == [
        (
            "5 events are 1,000 days or more before all others, as far as 1970-01-01: if they are mistakes, set "
            "source.earliest or source.latest"
        )
    ]
    (late,) = check.stray_dates({**bulk, 1130: 1, 1131: 2})
    assert late.startswith("3 events are 31 days or more after all others, as far as 1973-02-05")
    assert check.stray_dates({0: 500, **bulk}) == []
