"""Named runs: which preset counts, what it changes, and that every packaged source loads under each."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.sizes import SIZES
from pipeline import presets
from pipeline.config import ConfigError, overlay, parse
from pipeline.presets import PRESETS
from pipeline.sources import SOURCES

LOG = """
[source]
name = "my-log"
[source.events]
files = ["*.csv"]
format = "csv"
user = "u"
item = "i"
time = "t"
"""


@pytest.fixture
def toml(tmp_path):
    """Writes a TOML file of top-level keys and sections, and returns its path."""

    def write(content: str, name: str = "my.toml") -> str:
        (tmp_path / name).write_text(content)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_packaged_source_loads_under_every_preset(source, preset):
    config = presets.load(source, preset)
    assert (config.source.name, config.preset) == (source, preset)
    assert parse(config.model_dump(mode="json"), "again").digest == config.digest
    network, full = config.network(), SIZES[config.model.size]
    assert network.semantic_output_width == config.model.semantic_output_width >= 32
    assert network.max_length == config.sequences.max_length
    assert config.objective.label_window <= config.sequences.max_targets
    assert all(SIZES[rung].parameters < full.parameters for rung in config.funnel.rungs)
    for rung in config.funnel.rungs:
        assert config.network(rung) == network.model_copy(update={"size": rung})


@pytest.mark.parametrize("preset", PRESETS)
def test_a_log_with_only_user_item_and_time_loads_under_every_preset(preset, toml):
    assert presets.load(toml(LOG), preset).network().actions == 1


def test_freshness_adds_its_columns_under_every_preset():
    widths = {preset: presets.load("ifdb", preset).network().output_width for preset in PRESETS}
    assert widths == {"laptop": 64 + 33, "workstation": 64 + 33, "quick": 32 + 33, "paper": 64 + 33}


def test_the_preset_of_the_file_is_applied_and_not_only_recorded(toml):
    config = presets.load(toml('preset = "workstation"\n' + LOG))
    assert (config.preset, config.model.size, config.training.batch_tokens) == ("workstation", "10m", 32768)
    assert config.digest == presets.load(toml(LOG, "plain.toml"), "workstation").digest


def test_a_given_preset_wins_over_the_files_and_without_either_it_is_laptop(toml):
    path = toml('preset = "workstation"\n' + LOG)
    config = presets.load(path, "quick")
    assert (config.preset, config.model.size) == ("quick", "100k")
    assert presets.load(toml(LOG, "plain.toml")).preset == presets.DEFAULT == "laptop"
    assert presets.load("ml-100k").preset == "laptop"


def test_the_files_own_keys_win_over_the_preset(toml):
    config = presets.load(toml('preset = "workstation"\n' + LOG + '[model]\nsize = "50m"\n'))
    assert (config.model.size, config.model.item_width) == ("50m", 256)


def test_a_file_may_extend_a_packaged_source_under_a_preset(toml):
    path = toml('extends = "ifdb"\npreset = "quick"\n[training]\nseed = 7\n')
    config, base = presets.load(path), presets.load("ifdb", "quick")
    assert config.training.seed == 7 != base.training.seed
    assert config.digest == overlay(base, {"training": {"seed": 7}}, "test").digest


def test_the_files_folder_is_its_landing_folder_unless_it_names_one(toml):
    assert presets.load(toml(LOG)).source.landing == str(Path(toml(LOG)).parent)
    named = LOG.replace("[source.events]", 'landing = "/logs"\n[source.events]')
    assert presets.load(toml(named)).source.landing == "/logs"


def test_only_a_given_preset_is_among_the_words_that_load_the_configuration_again(toml):
    path = toml('preset = "workstation"\n' + LOG)
    assert presets.load(path).words == f"--source {path}"
    assert presets.load(path, "quick").words == f"--source {path} --preset quick"
    assert presets.load("ml-100k").words == "--source ml-100k"
    assert presets.load("ml-100k", "laptop").words == "--source ml-100k --preset laptop"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('preset = "cluster"\n', "preset is 'cluster'; allowed are laptop, workstation, quick"),
        ('preset = ["quick"]\n', r"preset is \['quick'\]; allowed are laptop"),
        ('extends = "netflix"\n', "extends is 'netflix'; allowed are ml-100k, ifdb"),
    ],
)
def test_an_unknown_preset_or_base_in_a_file_is_refused_with_what_is_allowed(content, words, toml):
    with pytest.raises(ConfigError, match=f"my.toml: {words}"):
        presets.load(toml(content + LOG))


def test_an_unknown_source_or_preset_is_refused_with_what_is_allowed():
    with pytest.raises(ConfigError, match="preset is 'cluster'; allowed are laptop, workstation, quick"):
        presets.load("ml-100k", "cluster")
    with pytest.raises(
        ConfigError, match="'netflix' is unknown; pass ml-100k, ifdb, .* or the path of a TOML"
    ):
        presets.load("netflix")


@pytest.mark.parametrize("source", list(SOURCES))
def test_the_run_paper_reads_no_signal_and_every_other_does(source):
    networks = {preset: presets.load(source, preset).network() for preset in PRESETS}
    reads = {preset: network.reads_signals or network.request_time for preset, network in networks.items()}
    assert reads == {preset: preset != "paper" for preset in PRESETS}
