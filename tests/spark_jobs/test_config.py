"""The mapping of a source and the sections that the jobs read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from expectations.tables import ITEM_FEATURES
from spark_jobs.config import (
    EdgeMapping,
    EventMapping,
    FeaturesConfig,
    FileMapping,
    ItemMapping,
    SequencesConfig,
    SignalsConfig,
    SourceConfig,
    TagMapping,
    VocabularyConfig,
)
from tests.factories import TinyLog, tiny_job

EVENTS = {"files": ("*.csv",), "format": "csv", "user": "u", "item": "i", "time": "t"}


def source(events: dict | None = None, **keys) -> SourceConfig:
    return SourceConfig(name="films", events=EventMapping(**(EVENTS | (events or {}))), **keys)


def test_user_item_and_time_are_enough():
    films = source()
    assert films.actions == ("interaction",) and films.high_value == "true" and films.context_fields == ()


def test_context_fields_are_the_mapped_ones_in_the_order_of_the_columns():
    assert source({"device": "d", "page": "p"}).context_fields == ("page", "device")


@pytest.mark.parametrize("actions", [(), ("a", "a"), tuple(f"a{number}" for number in range(128))])
def test_actions_are_1_to_127_distinct_names(actions):
    with pytest.raises(ValidationError, match="1 to 127 distinct names"):
        source({"action": "a"}, actions=actions)


def test_several_actions_need_a_mapping():
    with pytest.raises(ValidationError, match=r"events.action is missing; .* \(view, play\) needs it"):
        source(actions=("view", "play"))


@pytest.mark.parametrize("name", ["Films", "1films", "my_films", "", "f" * 42, "../films"])
def test_a_name_is_safe_in_paths(name):
    with pytest.raises(ValidationError, match="should match pattern"):
        SourceConfig(name=name, events=EventMapping(**EVENTS))


def test_the_widths_are_those_of_the_vector_columns():
    widths = FeaturesConfig(graph_width=16).widths
    assert widths == {"language": 384, "graph": 16, "annotation": 64}
    assert set(widths) <= set(ITEM_FEATURES.column_names)
    assert FeaturesConfig(language_encoder="none").widths["language"] == 0


def test_the_repeated_context_leaves_room_for_new_events():
    with pytest.raises(ValidationError, match="context_length must be below max_length, given 64 and 64"):
        SequencesConfig(max_length=64, context_length=64)


def test_a_job_survives_json(tmp_path):
    job = tiny_job(TinyLog(tmp_path, [], [], [], [], 0), tmp_path / "lake", versions={"events": 3})
    assert type(job).model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize(
    "kind",
    [FileMapping, EventMapping, ItemMapping, TagMapping, EdgeMapping, VocabularyConfig, FeaturesConfig, SequencesConfig],
)  # fmt: skip
def test_every_key_is_described(kind):
    assert [name for name, field in kind.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"half_lives_days": ()}, "at least 1 item"),
        ({"half_lives_days": tuple(range(1, 10))}, "at most 8 items"),
        ({"half_lives_days": (0.0, 1.0)}, "above 0 and at most 36,500, given"),
        ({"half_lives_days": (1.0, float("nan"))}, "above 0 and at most 36,500, given"),
        ({"half_lives_days": (7.0, 1.0)}, "distinct and ascending, given"),
        ({"half_lives_days": (1.0, 1.0)}, "distinct and ascending, given"),
        ({"bucket_minutes": 7}, "bucket_minutes is 7.0, but a whole number of buckets must make a day"),
        ({"bucket_minutes": 2880}, "less than or equal to 1440"),
        ({"reach": 0}, "greater than or equal to 1"),
        ({"reach": 51}, "less than or equal to 50"),
    ],
)
def test_signals_that_cannot_be_counted_are_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        SignalsConfig(**given)


@pytest.mark.parametrize(
    ("minutes", "microseconds"), [(10, 600_000_000), (0.5, 30_000_000), (1440, 86_400_000_000)]
)
def test_a_bucket_is_a_whole_part_of_a_day(minutes, microseconds):
    assert SignalsConfig(bucket_minutes=minutes).bucket_us == microseconds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "jsonl", "delimiter": ";"}, "delimiter is for csv and tsv, given format = 'jsonl'"),
        ({"format": "csv", "delimiter": "::"}, 'has several characters, which needs quote = ""'),
        ({"format": "csv", "delimiter": '"'}, "must differ"),
        ({"format": "csv", "quote": ",", "delimiter": ","}, "must differ"),
        ({"format": "csv", "delimiter": "\n"}, "be no line ends"),
    ],
)
def test_delimiter_quote_and_escape_must_fit_together(changes, message):
    events = {"files": ("*",), "user": "u", "item": "i", "time": "t", **changes}
    with pytest.raises(ValidationError, match=message):
        EventMapping(**events)
    EventMapping(**(events | {"format": "csv", "delimiter": "::", "quote": ""}))


def test_an_empty_pattern_of_files_is_refused():
    with pytest.raises(ValidationError, match="files has an empty pattern"):
        EventMapping(files=("a.csv", " "), format="csv", user="u", item="i", time="t")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "either files or table must say where the lines are"),
        ({"files": ("a.csv",), "format": "csv", "table": "a.b"}, "either files or table"),
        ({"files": ("a.csv",)}, "format is missing; files need one of jsonl, csv"),
        ({"table": "a.b", "format": "parquet"}, "format is for files; a table knows its own"),
        ({"table": " "}, "table is empty"),
    ],
)
def test_a_mapping_names_files_or_a_table(changes, why):
    with pytest.raises(ValidationError, match=why):
        EventMapping(user="u", item="i", time="t", **changes)
