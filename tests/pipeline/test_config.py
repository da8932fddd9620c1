"""The configuration tree: refusals, overlays, derived values, digests."""

from __future__ import annotations

import pytest

from model.config import ModelConfig
from pipeline import presets
from pipeline.config import Config, ConfigError, overlay, parse, parse_stored, read_toml

EVENTS = {"files": ["*.jsonl"], "format": "jsonl", "user": "u", "item": "i", "time": "t"}
MINIMAL = {"preset": "quick", "source": {"name": "my-log", "events": EVENTS}}


def changed(**sections) -> Config:
    """The minimal configuration with the keys of some sections replaced."""
    return overlay(parse(MINIMAL, "test"), sections, "my.toml")


def test_a_log_with_only_user_item_and_time_is_enough():
    config = parse(MINIMAL, "test")
    assert config.source.actions == ("interaction",)
    assert config.schedule.interval == 28.0


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("training", "seeed", 1, "training.seeed"),
        ("model", "size", "huge", "allowed are 25k"),
        ("funnel", "strictness", "kind", "strict"),
        ("funnel", "rungs", ["25k", "3k"], "'3k'"),
        ("training", "epochs", -1, "greater than 0"),
        ("sequences", "context_length", 10_000, "below max_length"),
        ("expectations", "losses", {"nulls": {"contry": {"ceiling": 1}}}, "losses.nulls.contry is unknown"),
        ("expectations", "losses", {"lines": {"least": 1}}, "least is unknown, allowed are floor, ceiling"),
    ],
)
def test_a_bad_value_is_refused_with_what_was_given_and_what_is_allowed(section, key, value, words):
    with pytest.raises(ConfigError, match=words):
        parse({**MINIMAL, section: {key: value}}, "my.toml")


def test_one_line_names_every_problem():
    with pytest.raises(ConfigError) as refusal:
        parse({**MINIMAL, "training": {"epochs": 0}, "registry": {"wings": 2}}, "my.toml")
    assert str(refusal.value) == (
        "my.toml cannot be used: 2 problems: training.epochs: Input should be greater than 0, given 0; "
        "registry.wings is unknown, allowed are promotion"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"evaluation": {"tasks": [{"name": "x", "gap": 1}]}}, "evaluation.tasks.0.gap is unknown, allowed are name,"),
        ({"trainings": {}}, "trainings is unknown, allowed are preset, source, schedule,"),
        ({"source": {**MINIMAL["source"], "items": [{"files": ["x"], "format": "csv", "item": "i", "tilte": "t"}]}},
         "source.items.0.tilte is unknown, allowed are files, table, format, delimiter, quote, escape, where, item, title"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_keys_of_its_section(content, words):
    with pytest.raises(ConfigError) as refusal:
        parse({**MINIMAL, **content}, "my.toml")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_an_overlay_replaces_only_what_it_names():
    base, other = parse(MINIMAL, "test"), changed(training={"seed": 7})
    assert other.training.seed == 7
    assert other.training.epochs == base.training.epochs


def test_the_digest_follows_every_section_and_a_stage_digest_only_its_own():
    base, other = parse(MINIMAL, "test"), changed(training={"seed": 7})
    assert base.digest == parse(MINIMAL, "again").digest != other.digest
    assert base.digest_of("source", "sequences") == other.digest_of("source", "sequences")
    assert base.digest_of("training") != other.digest_of("training")


def test_the_configuration_is_frozen():
    config = parse(MINIMAL, "test")
    with pytest.raises(ValueError, match="frozen"):
        config.training.seed = 3


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[source\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "bad.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "bytes.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)


def test_a_configuration_knows_the_words_that_load_it_again_and_its_digest_does_not():
    config = presets.load("ml-100k")
    assert config.words == "--source ml-100k"
    elsewhere = config.loaded_by("--source '/my logs/my.toml'")
    assert elsewhere.words == "--source '/my logs/my.toml'" and elsewhere.digest == config.digest
    assert parse(MINIMAL, "test").words == "--source my-log"


# --- derived values -------------------------------------------------------------------------------


def test_the_network_is_built_from_the_section_and_what_follows_from_the_others():
    config = changed(
        source={"actions": ["view", "play"], "events": {"action": "a", "country": "c", "page": "p"}},
        sequences={"max_length": 64, "context_length": 32, "context_buckets": 100},
        features={"graph_width": 16},
        model={"size": "50k", "item_width": 24, "semantic_output_width": 40, "dropout": 0.3, "freshness": True,
               "modalities": ["graph", "language"]},
        funnel={"rungs": ["25k"]},
    )  # fmt: skip
    assert config.network() == ModelConfig(
        size="50k",
        item_width=24,
        output_width=40 + 33,
        dropout=0.3,
        freshness=True,
        modalities=(("graph", 16), ("language", 384)),
        actions=2,
        context_fields=("page", "country"),
        context_buckets=100,
        max_length=64,
        half_lives=5,
        pair_signals=True,
        request_time=True,
    )
    assert config.network("25k") == config.network().model_copy(update={"size": "25k"})


def test_a_network_has_the_configured_half_lives_or_those_given_where_it_reads_item_signals():
    assert changed(model={"item_signals": False}).network(half_lives=2).half_lives == 0
    reading = changed(model={"item_signals": True, "pair_signals": True})
    assert reading.network().half_lives == 5 and reading.network().pair_signals
    assert reading.network(half_lives=2).half_lives == 2
    given = changed(model={"item_signals": True}, signals={"half_lives_days": [1, 7, 30]})
    assert given.network().half_lives == 3
    with pytest.raises(ConfigError, match="model.half_lives cannot be set, it is the number of"):
        changed(model={"half_lives": 3})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("actions", 1, "model.actions cannot be set, it is the number of source.actions"),
        ("context_fields", [], "model.context_fields cannot be set, they are the context fields that source.events maps"),
        ("max_length", 256, "model.max_length cannot be set, it is sequences.max_length"),
        ("context_buckets", 512, "model.context_buckets cannot be set, it is sequences.context_buckets"),
        ("output_width", 64,
         "model.output_width cannot be set, it is model.semantic_output_width, plus 33 with model.freshness"),
    ],
)  # fmt: skip
def test_a_derived_value_is_no_key_and_the_refusal_says_where_it_comes_from(key, value, words):
    with pytest.raises(ConfigError) as refusal:
        parse({**MINIMAL, "model": {key: value}}, "my.toml")
    assert str(refusal.value) == f"my.toml cannot be used: {words}"


@pytest.mark.parametrize(
    "sections",
    [
        {"source": {"events": {"page": "p"}}},
        {"source": {"actions": ["view", "play"], "events": {"action": "a"}}},
        {"sequences": {"max_length": 512}},
        {"sequences": {"context_buckets": 100}},
        {"features": {"graph_width": 32}},
    ],
)
def test_the_digest_of_the_model_follows_what_the_network_derives(sections):
    base, other = parse(MINIMAL, "test"), changed(**sections)
    assert base.digest != other.digest
    assert base.digest_of("model") != other.digest_of("model")


def test_a_modality_that_no_encoder_makes_is_refused():
    with pytest.raises(
        ConfigError, match="modalities has language, which features.language_encoder = 'none'"
    ):
        changed(features={"language_encoder": "none"})
    config = changed(features={"language_encoder": "none"}, model={"modalities": ["graph"]})
    assert config.network().modalities == (("graph", 64),)


def test_a_configuration_stored_with_derived_keys_is_read_as_it_was():
    config = changed(model={"freshness": True}, features={"graph_width": 16})
    assert parse_stored(config.model_dump(mode="json"), "version 1") == config
    without = dict.fromkeys(("item_signals", "pair_signals", "request_time"), False)
    config = changed(model={"freshness": True, **without}, features={"graph_width": 16})
    content = config.model_dump(mode="json")
    later = {"history", "half_lives", "pair_signals", "request_time"}  # keys that came after
    network = config.network().model_dump(mode="json", exclude=later)
    old = content | {"model": network}
    assert old["model"]["output_width"] == 97 and old["model"]["max_length"] == 256
    assert parse_stored(old, "version 1") == config


def test_a_stored_share_of_passes_a_rung_becomes_the_cost_of_all_rungs():
    content = parse(MINIMAL, "test").model_dump(mode="json")
    content["funnel"] = {"rungs": ["25k", "50k"], "rung_epochs_fraction": 0.5}
    funnel = parse_stored(content, "version 1").funnel
    assert (funnel.rung_cost_fraction, funnel.rung_min_steps) == (1.0, 1)


# --- schedule and rungs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"cron": "every monday"}, "cron 'every monday' cannot be used: .*for instance '0 6 \\* \\* 1'"),
        ({"cron": "61 * * * *"}, "out of range"),
        ({"cron": ""}, "cron '' cannot be used"),
        ({"cron": "0 0 31 2 *"}, "cannot be used: failed to find next date"),
        ({"cron": "0 6 * * 1 30"}, "it has not five fields"),
        ({"cron": "0 6 * * 1", "end_date": "2026-03-01"},
         "cron \\('0 6 \\* \\* 1'\\) and end_date \\(2026-03-01\\) cannot be combined"),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "start_date 2026-03-02 is after end_date 2026-03-01"),
        ({"interval_days": 1 / 2880}, "interval_days is 0.0003.*multiples of 1/1440 day"),
        ({"interval_days": 0.3333}, "interval_days is 0.3333, but cutoffs are whole minutes"),
        ({"interval_days": 1e-15}, "cutoffs are whole minutes"),
        ({"interval_days": 1e12}, "less than or equal to 36500"),
        ({"window_days": 0.3333}, "window_days is 0.3333, but cutoffs are whole minutes"),
    ],
)  # fmt: skip
def test_an_impossible_schedule_is_refused_when_it_is_read(schedule, words):
    with pytest.raises(ConfigError, match=words) as refusal:
        changed(schedule=schedule)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "schedule",
    [
        {"cron": "0 6 * * 1"},
        {"cron": "@weekly", "start_date": "2026-03-01"},
        {"cron": "@quarterly"},
        {"start_date": "2026-03-01", "end_date": "2026-03-01"},
        {"interval_days": 1 / 3},
        {"interval_days": 1 / 1440},
        {"interval_days": 7, "window_days": 0.3333},
    ],
)
def test_a_possible_schedule_is_taken(schedule):
    read = changed(schedule=schedule).schedule
    assert read.model_dump(mode="json", include=set(schedule)) == schedule


@pytest.mark.parametrize(
    ("rungs", "words"),
    [
        ([], "at least 1 item"),
        (["25k"] * 9, "at most 8 items"),
        (
            ["50k", "25k"],
            "rungs must be distinct and ascending in size, given 50k, 25k; the order is 25k, 50k",
        ),
        (["25k", "25k"], "rungs must be distinct and ascending"),
        (
            ["25k", "400k"],
            "funnel.rungs has 400k, which is larger than the full model \\(model.size is 200k\\)",
        ),
    ],
)
def test_rungs_ascend_up_to_the_full_model(rungs, words):
    with pytest.raises(ConfigError, match=words):
        changed(funnel={"rungs": rungs})


def test_one_to_eight_rungs_are_taken_and_the_last_may_be_as_large_as_the_full_model():
    assert changed(funnel={"rungs": ["200k"]}).funnel.rungs == ("200k",)
    eight = ["25k", "50k", "100k", "200k", "400k", "600k", "2m", "10m"]
    assert changed(model={"size": "10m"}, funnel={"rungs": eight}).funnel.rungs == tuple(eight)
