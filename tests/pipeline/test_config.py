"""The configuration tree: refusals, overlays, digests."""

from __future__ import annotations

import pytest

from pipeline import presets
from pipeline.config import ConfigError, overlay, parse, read_toml

MINIMAL = {
    "preset": "quick",
    "source": {
        "name": "my-log",
        "events": {"files": ["*.jsonl"], "format": "jsonl", "user": "u", "item": "i", "time": "t"},
    },
}


def test_a_log_with_only_user_item_and_time_is_enough():
    config = parse(MINIMAL, "test")
    assert config.source.actions == ("interaction",)
    assert config.schedule.interval == 28.0


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("training", "seeed", 1, "training.seeed"),
        ("model", "size", "huge", "allowed are 25k"),
        ("funnel", "strictness", "kind", "strict"),
        ("funnel", "rungs", ["25k", "3k"], "'3k'"),
        ("training", "epochs", -1, "greater than 0"),
        ("sequences", "context_length", 10_000, "below max_length"),
    ],
)
def test_a_bad_value_is_refused_with_what_was_given_and_what_is_allowed(section, key, value, told):
    with pytest.raises(ConfigError, match=told):
        parse({**MINIMAL, section: {key: value}}, "my.toml")


def test_every_problem_is_told_at_once():
    with pytest.raises(ConfigError) as refusal:
        parse({**MINIMAL, "training": {"epochs": 0}, "registry": {"wings": 2}}, "my.toml")
    assert str(refusal.value) == (
        "my.toml cannot be used: 2 problems: training.epochs: Input should be greater than 0, given 0; "
        "registry.wings is unknown, allowed are promotion"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"evaluation": {"tasks": [{"name": "x", "gap": 1}]}}, "evaluation.tasks.0.gap is unknown, allowed are name,"),
        ({"trainings": {}}, "trainings is unknown, allowed are preset, source, schedule,"),
        ({"source": {**MINIMAL["source"], "items": [{"files": ["x"], "format": "csv", "item": "i", "tilte": "t"}]}},
         "source.items.0.tilte is unknown, allowed are files, format, where, item, title"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_keys_of_its_section(content, told):
    with pytest.raises(ConfigError) as refusal:
        parse({**MINIMAL, **content}, "my.toml")
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


def test_an_overlay_replaces_only_what_it_names():
    base = parse(MINIMAL, "test")
    changed = overlay(base, {"training": {"seed": 7}}, "my.toml")
    assert changed.training.seed == 7
    assert changed.training.epochs == base.training.epochs


def test_the_digest_follows_every_section_and_a_stage_digest_only_its_own():
    base = parse(MINIMAL, "test")
    changed = overlay(base, {"training": {"seed": 7}}, "my.toml")
    assert base.digest == parse(MINIMAL, "again").digest != changed.digest
    assert base.digest_of("source", "sequences") == changed.digest_of("source", "sequences")
    assert base.digest_of("training") != changed.digest_of("training")


def test_the_configuration_is_frozen():
    config = parse(MINIMAL, "test")
    with pytest.raises(ValueError, match="frozen"):
        config.training.seed = 3


def test_a_file_that_is_absent_or_no_toml_is_told_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[source\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "bad.toml")


def test_a_configuration_knows_the_words_that_load_it_again_and_its_digest_does_not():
    config = presets.load("ml-100k")
    assert config.words == "--source ml-100k"
    assert presets.load("ml-100k", "quick").words == "--source ml-100k --preset quick"
    elsewhere = config.loaded_by("--source '/my logs/my.toml'")
    assert elsewhere.words == "--source '/my logs/my.toml'" and elsewhere.digest == config.digest
    assert parse(MINIMAL, "test").words == "--source my-log"
