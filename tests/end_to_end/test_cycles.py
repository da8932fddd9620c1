"""Three consecutive cycles, run again, run out of order, and run beside planted futures."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import mlflow
import pytest
import torch
from deltalake import DeltaTable

from expectations.tables import location
from model.evaluation.names import CANDIDATE, CHAMPION
from model.network.recommender import Recommender, score
from model.serving.encoding import encode_histories, encode_items
from model.training.checkpoint import digest_of_weights, load_weights
from model.training.warm_start import start_from_parent
from pipeline.config import MaintenanceConfig
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.signals import network
from pipeline.evaluation.models import open_contender, open_reference
from pipeline.evaluation.window import open_window
from pipeline.maintenance.maintain import maintain
from pipeline.maintenance.replay import DIFFERS, IMPOSSIBLE, SAME, replay
from pipeline.registry import tracking
from pipeline.report.screens import replay_screen, tables_screen
from pipeline.settings import CHECKOUT
from pipeline.training.fit import fit
from pipeline.workflows.refresh_cycle import workflow
from pipeline.workflows.stage import Stage
from tests.factories import CUTOFFS, PLANTED, tiny_config

STAGES = workflow(tiny_config())
TABLES = (
    "vocabulary",
    "item_features",
    "sequences",
    "evaluation_sequences",
    "item_signals",
    "successors",
    "ranks",
)
"""Tables of which a cycle has its own rows."""


def table(house, name: str, cycle: str | None = None) -> list[dict]:
    """Rows of a table of the house's lake, of one cycle where it has cycles, in a stable order."""
    rows = DeltaTable(location(house.settings.lake, "tiny", name)).to_pyarrow_table().to_pylist()
    rows = [row for row in rows if cycle is None or row["cycle"] == cycle]
    return sorted(rows, key=lambda row: json.dumps(row, default=str))


def features_by_item(house, cycle: str) -> dict[str, dict]:
    """Feature vectors of a cycle by item_id."""
    names = {row["item_index"]: row["item_id"] for row in table(house, "items")}
    rows = table(house, "item_features", cycle)
    return {names[row.pop("item_index")]: row for row in rows}


def weights(house, cycle: str, model: str = "candidate") -> str:
    return digest_of_weights(house.settings.checkpoint_folder("tiny", cycle, model))


def test_three_cycles_run_every_stage_and_each_continues_the_one_before(three_cycles):
    house, cycles = three_cycles
    for _, outcomes in cycles:
        assert list(outcomes) == [stage.name for stage in STAGES.stages]
        assert not any(outcome.record.refused for outcome in outcomes.values())
    (first, _), (second, _), (third, last) = cycles
    assert first.parent is None
    assert second.parent.cycle == first.name and second.parent.split == first.split
    assert third.parent.cycle == second.name
    assert tracking.champion_version(house.settings, "tiny") == last["register"].record.figures.version


def test_every_landed_line_is_accepted_or_rejected(three_cycles):
    house, ((_, one), *_) = three_cycles
    figures = one["events"].record.figures
    assert figures.accepted == len(house.log.events) == len(table(house, "events"))
    assert figures.rejected == house.log.malformed == len(table(house, "rejected_events"))


def test_the_same_cycle_again_does_no_work_and_makes_no_second_version(three_cycles):
    house, (_, (second, _), _) = three_cycles
    names = [path.name for path in sorted((house.settings.home / "lake" / "tiny").glob("*/"))]
    before = {name: DeltaTable(location(house.settings.lake, "tiny", name)).version() for name in names}
    versions = len(tracking.accepted_versions(house.settings, "tiny"))
    again, outcomes = house.run(CUTOFFS[1])
    assert again == second
    assert not any(outcome.worked for outcome in outcomes.values())
    assert {
        name: DeltaTable(location(house.settings.lake, "tiny", name)).version() for name in names
    } == before
    assert len(tracking.accepted_versions(house.settings, "tiny")) == versions


def test_a_backfill_that_failed_once_goes_on_and_equals_the_cycles_run_in_time_order(
    three_cycles, make_house, monkeypatch
):
    house, cycles = three_cycles
    other, broken_stage = make_house(), "sequences"
    original = Stage.load

    def broken(self):
        if self.name == broken_stage:
            raise OSError("no space left on device")
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "load", broken)
        with pytest.raises(OSError, match="no space"):
            other.run(CUTOFFS[0], run_type="backfill")
    done = STAGES.stages[: STAGES.stages.index(STAGES[broken_stage])]
    for number, ((cycle, _), cutoff) in enumerate(zip(cycles, CUTOFFS, strict=True), start=1):
        backfilled, outcomes = other.run(cutoff, run_type="backfill")
        idle = [name for name, outcome in outcomes.items() if not outcome.worked]
        assert idle == ([stage.name for stage in done] if number == 1 else [])
        assert outcomes["register"].record.figures.version == number
        assert weights(other, cycle.name) == weights(house, cycle.name)
        for name in TABLES:
            assert table(other, name, cycle.name) == table(house, name, cycle.name), name
        assert outcomes["promote"].record.figures.moved is False
        assert (backfilled.parent and backfilled.parent.cycle) == (cycle.parent and cycle.parent.cycle)
    assert tracking.champion_version(other.settings, "tiny") is None


def test_events_and_items_planted_after_the_split_change_nothing_that_training_sees(three_cycles, make_house):
    house, ((first, one), *_) = three_cycles
    planted = make_house(planted=True)
    cycle, outcomes = planted.run(CUTOFFS[0])
    assert any(row["item_id"] == PLANTED for row in table(planted, "items"))
    for name in ("vocabulary", "sequences"):
        assert table(planted, name, first.name) == table(house, name, first.name), name
    for name in ("item_signals", "successors"):
        known = [
            [row for row in table(one_house, name, first.name) if not row["after_split"]]
            for one_house in (planted, house)
        ]
        assert known[0] == known[1] and known[0], name
    # The planted item is numbered among those first seen after the split: names are compared there.
    features = features_by_item(planted, first.name)
    del features[PLANTED]
    assert features == features_by_item(house, first.name)
    rates = [run["vocabulary"].record.figures.masking_rate for run in (one, outcomes)]
    assert rates[0] == rates[1]
    assert weights(planted, first.name, "rung-25k") == weights(house, first.name, "rung-25k")
    # The planted events are labels of the window, so its rung may be refused: the full model is trained here.
    records = {name: outcome.record for name, outcome in outcomes.items()}
    context = StageContext(STAGES["train"], planted.config, cycle, planted.settings, records)
    candidate = fit(context, CANDIDATE, planted.config.model.size)
    assert candidate.checkpoint_digest == weights(house, first.name)


def test_the_registered_version_carries_its_lineage(three_cycles):
    house, ((first, _), (second, two), _) = three_cycles
    version = two["register"].record.figures.version
    store = tracking.client(house.settings)
    tags = store.get_model_version(tracking.model_name("tiny"), str(version)).tags
    assert tags["cycle"] == second.name and tags["parent_cycle"] == first.name
    assert tags["checkpoint_digest"] == weights(house, second.name)
    assert json.loads(tags["table_versions"])["sequences"] == two["sequences"].record.versions["sequences"]
    assert tags["configuration_digest"] == house.config.digest


def test_a_grown_vocabulary_changes_no_score_before_training(three_cycles):
    """Over the same items and features: old items bit for bit, new ones exactly as cold items."""
    house, (*_, (third, outcomes)) = three_cycles
    records = {name: outcome.record for name, outcome in outcomes.items()}
    context = StageContext(STAGES["evaluate"], house.config, third, house.settings, records)
    reference = open_reference(context, third.reference, CANDIDATE, CHAMPION)
    older, as_cold = reference.recommender, reference.catalogue
    today = open_contender(context, CANDIDATE).catalogue
    assert today.vocabulary_size > as_cold.vocabulary_size
    grown = Recommender(network(context), today.vocabulary_size).eval()
    folder = accepted.model_folder(house.settings, "tiny", third.parent, "candidate")
    growth = start_from_parent(grown, load_weights(folder))
    assert growth.new_rows == today.vocabulary_size - as_cold.vocabulary_size
    window = open_window(context)
    examples, ends = window.examples, window.ends[window.judged]
    scores, terms = [], []
    for recommender, catalogue in ((older, as_cold), (grown, today)):
        with torch.inference_mode():
            items = encode_items(recommender, catalogue, window.eligible.item_index)
            users = encode_histories(
                recommender, catalogue, examples.histories, examples.user, ends, reference.context_length
            )
            taste, *weights = recommender.split(users)
            scores.append(score(taste, items))
            terms.append(torch.cat(weights, dim=1))
    # Signals are the same for both models, so equal weights of their terms are equal terms.
    assert torch.equal(*scores) and torch.equal(*terms)


def test_the_readmes_scoring_example_runs_on_plain_records(three_cycles, monkeypatch, tmp_path):
    house, _ = three_cycles
    code = re.search(r"<!-- scoring:.*?```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)[
        1
    ]
    item = house.log.items[0]["item"]
    for before, after in {
        "sqlite:///.reprise/mlflow/mlflow.db": house.settings.tracking_uri,
        "reprise-ml-100k": "reprise-tiny",
        '"50"': f'"{item}"',
        "rated_5": house.config.source.actions[0],
        "rated_4": house.config.source.actions[1],
    }.items():
        assert before in code
        code = code.replace(before, after)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")  # the example sets it
    (tmp_path / "score.py").write_text(code)
    answer = runpy.run_path(str(tmp_path / "score.py"))["answers"].iloc[0]
    assert len(answer["items"]) == len(answer["scores"]) == len(answer["titles"]) == 5
    assert list(answer["scores"]) == sorted(answer["scores"], reverse=True)
    assert set(answer["items"]) <= {one["item"] for one in house.log.items}
    assert answer["unknown_items"] == 1  # "181" is no item of this source
    assert mlflow.get_tracking_uri() == house.settings.tracking_uri


def test_the_report_of_every_cycle_stands_alone(three_cycles):
    house, cycles = three_cycles
    for cycle, _ in cycles:
        pages = list(house.settings.report_folder("tiny", cycle.name).rglob("*.html"))
        assert pages
        for page in pages:
            text = page.read_text()
            assert 'src="http' not in text and 'href="http' not in text


def tree(house) -> dict[str, bytes]:
    """Every file of the lake."""
    lake = Path(house.settings.lake)
    return {str(path): path.read_bytes() for path in lake.rglob("*") if path.is_file()}


def test_readers_outside_read_what_passed_as_the_page_says(three_cycles, tmp_path):
    house, cycles = three_cycles
    page = (CHECKOUT / "docs" / "reading-the-tables.md").read_text()
    code = re.search(r"<!-- delta-rs:.*?```python\n(.*?)```", page, re.DOTALL)[1]
    lake = f"{house.settings.lake}/tiny"
    assert ".reprise/lake/ml-100k" in code
    (tmp_path / "read.py").write_text(code.replace(".reprise/lake/ml-100k", lake))
    read = runpy.run_path(str(tmp_path / "read.py"))
    assert len(read["events"]) == len(house.log.events)
    newest, outcomes = cycles[-1]
    assert set(read["read"]("sequences")["cycle"]) == {newest.name}
    assert len(read["vocabulary"]) == len(table(house, "vocabulary", newest.name))
    for name, told in read["passed"].items():
        writer = next(one.record for one in outcomes.values() if name in one.record.versions)
        assert (told["version"], told["cycle"]) == (writer.versions[name], newest.name), name
    screen = tables_screen(house.settings, "tiny")
    assert f"cycle = '{newest.name}'" in screen and f"{lake}/passed.json" in screen.replace("\n", "")


def test_maintenance_takes_nothing_that_a_version_or_the_next_run_needs(three_cycles):
    house, cycles = three_cycles
    pinned = {
        pair for _, outcomes in cycles for one in outcomes.values() for pair in one.record.versions.items()
    }

    def content() -> dict:
        return {
            (name, version): sorted(
                json.dumps(row, default=str)
                for row in DeltaTable(location(house.settings.lake, "tiny", name), version=version)
                .to_pyarrow_table()
                .to_pylist()
            )
            for name, version in pinned
        }

    left = Path(location(house.settings.lake, "tiny", "events")) / "part-of-a-killed-write.parquet"
    left.touch()
    before, digests = content(), [weights(house, cycle.name) for cycle, _ in cycles]
    options = MaintenanceConfig(
        keep_cycles=1, vacuum_hours=0, small_files=2, checkpoint_days=1, report_days=1
    )
    config, said = house.config.model_copy(update={"maintenance": options}), []
    maintain(config, house.settings, said.append)
    assert not left.exists(), said
    assert content() == before
    assert [weights(house, cycle.name) for cycle, _ in cycles] == digests
    _, outcomes = house.run(CUTOFFS[2])
    assert not any(outcome.worked for outcome in outcomes.values())


def test_a_version_is_made_again_from_its_record_after_maintenance(three_cycles):
    house, _ = three_cycles
    before = tree(house)
    found = replay(house.settings, "tiny", 2, house.lines.append)
    assert [told.table for told in found] == [
        "events", "items", "rejected_items", "vocabulary", "item_features", "sequences", "evaluation_sequences",
        "item_signals", "successors", "kept weights",
    ]  # fmt: skip
    assert {told.outcome for told in found} == {SAME}, found
    assert "sequences" in replay_screen("tiny", 2, found)
    assert tree(house) == before and not (house.settings.home / "replay" / "tiny" / "2").exists()


@pytest.mark.proof  # two minutes more than a suite that runs on every change has
def test_what_is_made_again_otherwise_or_not_at_all_is_told(three_cycles, monkeypatch):
    """The job of one table does something else today, a catalogue file has changed, a table's files are gone."""
    house, (*_, (third, outcomes)) = three_cycles
    catalogue = house.settings.landing("tiny") / "items.jsonl"
    text = catalogue.read_text()
    lost = DeltaTable(
        location(house.settings.lake, "tiny", "sequences"),
        version=outcomes["sequences"].record.versions["sequences"],
    ).file_uris([("cycle", "=", third.name)])
    hidden = {Path(uri): Path(f"{uri}.hidden") for uri in lost}
    load = Stage.load

    def other(self):
        function = load(self)
        if self.name == "successors":
            return lambda spark, job: function(
                spark, job.model_copy(update={"signals": job.signals.model_copy(update={"reach": 1})})
            )
        return function

    monkeypatch.setattr(Stage, "load", other)
    try:
        catalogue.write_text(text.replace("The horror", "Another horror"))
        for path, name in hidden.items():
            path.rename(name)
        found = {told.table: told for told in replay(house.settings, "tiny", 3, house.lines.append)}
    finally:
        catalogue.write_text(text)
        for path, name in hidden.items():
            name.rename(path)
    outcome = {name: told.outcome for name, told in found.items()}
    others = {"items": IMPOSSIBLE, "sequences": IMPOSSIBLE, "successors": DIFFERS}
    assert {name: one for name, one in outcome.items() if one != SAME} == others
    assert "landed files of items, tags or edges are not those" in found["items"].words
    assert "files of sequences, version " in found["sequences"].words
    assert re.search(
        r"rows, the first at cycle = \S+ and .*: previous_items; digest", found["successors"].words
    )
    assert (house.settings.home / "replay" / "tiny" / "3").exists()  # to be looked at
