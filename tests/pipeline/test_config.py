"""The configuration tree: refusals, overlays, digests."""

from __future__ import annotations

import pytest

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
        parse({**MINIMAL, "training": {"epochs": 0, "wings": 2}}, "my.toml")
    assert "training.epochs" in str(refusal.value) and "training.wings" in str(refusal.value)


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
