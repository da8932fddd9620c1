"""The funnel on a small lake: an honest candidate passes, a shuffled one stops at the first rung."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from deltalake import DeltaTable

from expectations.tables import location
from model.data.batches import TrainingBatches
from model.evaluation.examples import history_ends
from model.evaluation.metrics import ALL, RankedExamples, Summary
from model.evaluation.ranking import NotFiniteScoreError, Ranking
from model.evaluation.ranks import rank_rows, write_ranks
from model.training.checkpoint import finished_state
from pipeline.config import FunnelConfig
from pipeline.cycle import accepted
from pipeline.cycle.definition import AcceptedVersion
from pipeline.cycle.records import StageResult, write_record
from pipeline.evaluation import measures
from pipeline.gates.verdicts import non_inferiority
from pipeline.settings import Settings
from pipeline.stages import rungs as stage
from pipeline.stages.funnel import agreement, funnel
from pipeline.stages.rungs import rung
from tests.factories import CUTOFFS
from tests.model.window_of import eligible, examples
from tests.pipeline import small_lake


def outcomes(result: StageResult) -> dict[str, str]:
    return {verdict["check"]: verdict["outcome"] for verdict in result.figures["verdicts"]}


@pytest.fixture(scope="module", autouse=True)
def no_registry():
    """Rungs log no live metrics here: a store of its own costs seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.tracking, "live_metrics", lambda context, model: None)
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The first cycle's context before and after its honest rung."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")))
    result = rung(context, 1)
    return context, result


@pytest.fixture(scope="module")
def second(first):
    """The second cycle's context: its parent and champion is the first."""
    context, result = first
    settings, cycle = context.settings, context.cycle
    folder = settings.cycle_folder(cycle.source, cycle.name)
    for record in small_lake.after(context, "rung_1", result).records.values():
        write_record(folder, record)
    (folder / "cycle.json").write_text(json.dumps({"configuration": context.config.model_dump(mode="json")}))
    champion = AcceptedVersion(1, cycle.name, cycle.split, "unused by rungs")
    accepted.keep(settings, cycle, champion.checkpoint_digest)
    later = small_lake.write_cycle(settings, CUTOFFS[1], seed=1)
    return replace(later, cycle=replace(later.cycle, parent=champion, reference=champion))


def test_an_honest_first_rung_beats_popularity_and_reads_its_history(first):
    _, result = first
    assert result.refused is None and result.figures["outcome"] == "passed"
    found = outcomes(result)
    assert found["own histories against other users'"] == "pass"
    assert found["all labels against frozen popularity"] == "pass"
    assert found["the same rung before"] == "not applicable"
    assert result.versions["ranks"] > 0


def test_a_rung_trained_on_shuffled_label_sets_is_refused_and_says_what_was_saved(tmp_path, monkeypatch):
    context = small_lake.write_cycle(Settings.at(tmp_path))
    honest = TrainingBatches.batch

    def shuffled(self, rows):
        batch = honest(self, rows)
        order = torch.randperm(
            batch.label_item.shape[0], generator=torch.Generator().manual_seed(int(rows[0]))
        )
        return replace(batch, label_item=batch.label_item[order], label_weight=batch.label_weight[order])

    monkeypatch.setattr(TrainingBatches, "batch", shuffled)
    result = rung(context, 1)
    assert outcomes(result)["own histories against other users'"] == "fail"
    assert result.figures["outcome"] == "refused"
    assert "own histories" in result.refused and "the full model 25k were not trained" in result.refused
    assert not context.settings.checkpoint_folder("tiny", context.cycle.name, "candidate").exists()


def test_a_rung_makes_its_share_of_the_full_models_passes(first, tmp_path):
    context, result = first
    half = context.config.funnel.model_copy(update={"rung_epochs_fraction": 0.5})
    shorter = rung(small_lake.with_config(small_lake.write_cycle(Settings.at(tmp_path)), funnel=half), 1)
    assert result.figures["training"]["epochs"] == context.config.training.epochs
    assert shorter.figures["training"]["epochs"] == context.config.training.epochs / 2


def test_rungs_of_another_length_are_not_compared_as_they_are(second):
    half = second.config.funnel.model_copy(update={"rung_epochs_fraction": 0.5})
    result = rung(small_lake.with_config(second, funnel=half), 1)
    assert result.figures["compared_with"] == "the configuration of cycle 2024-02-10 on the same data"


def test_a_later_rung_is_fine_tuned_and_held_against_the_same_rung_before(second):
    result = rung(second, 1)
    assert result.figures["compared_with"] == "the same rung of cycle 2024-02-10"
    assert result.figures["training"]["parent"].startswith("version 1")
    found = outcomes(result)
    assert found["all labels against the same rung of cycle 2024-02-10"] == "pass"
    assert found["task A against the same rung of cycle 2024-02-10"] == "not judged"
    assert found["task C against the same rung of cycle 2024-02-10"] == "not applicable"
    assert result.refused is None
    assert set(result.figures["mrr"]) >= {"rung-25k", "rung-25k-older", "rung-25k-exchanged"}


def test_after_a_change_of_configuration_the_old_one_is_trained_on_the_same_data(second):
    changed = second.config.training.model_copy(update={"finetune_learning_rate": 1e-3})
    result = rung(small_lake.with_config(second, training=changed), 1)
    assert result.figures["compared_with"] == "the configuration of cycle 2024-02-10 on the same data"
    folder = second.settings.checkpoint_folder("tiny", second.cycle.name, "rung-25k-control")
    assert finished_state(folder).progress["parent"].startswith("version 1, cycle 2024-02-10")


def test_a_champion_that_cannot_read_todays_tables_is_not_compared(second):
    source = second.config.source
    events = source.events.model_copy(update={"position": None, "country": None})
    context = small_lake.with_config(second, source=source.model_copy(update={"events": events}))
    assert stage._rank_reference(context, None, "rung-25k", "25k") == (
        None,
        "context_fields changed since cycle 2024-02-10",
    )


def test_a_champion_without_this_rung_leaves_the_yardsticks(second):
    found = stage._rank_reference(second, None, "rung-100k", "100k")
    assert found == (None, "cycle 2024-02-10 has no rung of this size")


def test_a_rung_beyond_the_configured_ones_is_not_applicable(first):
    context, _ = first
    assert rung(context, 2).figures["outcome"] == "not applicable"


def test_a_rung_whose_scores_are_not_finite_is_refused(first, monkeypatch):
    context, _ = first

    def broken(*_):
        raise NotFiniteScoreError("the model gave a score that is not a finite number")

    monkeypatch.setattr(stage, "_rank_rung", broken)
    result = rung(context, 1)
    assert "not a finite number" in result.refused


def full(first, tmp_path, candidate: float, champion: float | None = None, evaluated=None, **funnel_sections):
    """The funnel over ranks written by hand: 30 users, everybody at the same ranks."""
    context, _ = first
    users = [[(0, 0.0), (1, 0.5), (2, 40.0)] for _ in range(30)]
    found = examples(users, [[1, 2]] * 30, items=40)
    judged = measures.judged(context.config.evaluation)
    ends = history_ends(found, "replay", 0.0, 0)
    jitter = np.tile([0.0, 1.0], 30)
    ranks = {"candidate": candidate, "popularity_frozen": 8.0, "popularity_moving": 6.0, "markov": 2.0}
    ranks |= {} if champion is None else {"champion": champion}
    version = 0
    for model, rank in ranks.items():
        rows = rank_rows(
            context.cycle.name,
            model,
            "d",
            found,
            eligible(40),
            [(judged, ends, Ranking(rank + jitter, -jitter))],
        )
        version = write_ranks(rows, str(tmp_path), "tiny", context.cycle.name, model)
    figures = {"latency_milliseconds": 5.0, "size_megabytes": 1.0, "tasks_not_applicable": ["C"]} | (
        evaluated or {}
    )
    parent = AcceptedVersion(1, "2024-01-31", context.cycle.split, "d")
    changed = replace(
        small_lake.with_config(context, funnel=FunnelConfig(rungs=("25k",), min_users=20, **funnel_sections)),
        settings=Settings.at(tmp_path, lake=str(tmp_path)),
        cycle=replace(context.cycle, reference=None if champion is None else parent),
    )
    return funnel(small_lake.after(changed, "evaluate", StageResult({"ranks": version}, figures)))


def test_a_first_full_model_that_beats_popularity_passes_and_the_chain_is_reported(first, tmp_path):
    result = full(first, tmp_path, candidate=3.0)
    assert result.refused is None
    assert result.figures["loses_to"] == ["markov"]
    assert outcomes(result)["all labels against the Markov chain"] == "fail"
    assert outcomes(result)["the forecast"] == "not applicable"


def test_a_full_model_that_does_not_beat_frozen_popularity_is_refused(first, tmp_path):
    result = full(first, tmp_path, candidate=8.0, strictness="lenient")
    assert result.refused.startswith("all labels against frozen popularity: fail")


def test_a_full_model_worse_than_the_champion_is_refused_on_every_task_and_slice(first, tmp_path):
    result = full(first, tmp_path, candidate=4.0, champion=3.0)
    found = outcomes(result)
    assert found["all labels against the champion"] == "fail"
    assert found["task A against the champion"] == "fail" and found["task B against the champion"] == "fail"
    assert found["task C against the champion"] == "not applicable"
    assert "the champion" in result.refused
    assert result.figures["relative_difference"] < 0


def test_a_full_model_as_good_as_the_champion_passes(first, tmp_path):
    result = full(first, tmp_path, candidate=3.0, champion=3.0)
    assert outcomes(result)["all labels against the champion"] == "pass"
    assert result.refused is None


@pytest.mark.parametrize(
    ("evaluated", "reason"),
    [
        ({"latency_milliseconds": 900.0}, "latency: fail"),
        ({"latency_milliseconds": None}, "latency: fail"),
        ({"size_megabytes": float("nan")}, "size: fail"),
        ({"not_finite": "the model gave a score that is not a finite number"}, "scores: fail"),
    ],
)
def test_budgets_and_missing_measures_refuse(first, tmp_path, evaluated, reason):
    assert reason in full(first, tmp_path, candidate=3.0, evaluated=evaluated).refused


def test_ranks_that_are_missing_fail_closed(first, tmp_path):
    full(first, tmp_path, candidate=3.0)
    context, _ = first
    changed = replace(
        context,
        settings=Settings.at(tmp_path, lake=str(tmp_path)),
        cycle=replace(context.cycle, reference=AcceptedVersion(1, "2024-01-31", context.cycle.split, "d")),
    )
    latest = DeltaTable(location(str(tmp_path), "tiny", "ranks")).version()
    result = funnel(
        small_lake.after(changed, "evaluate", StageResult({"ranks": latest}, {"size_megabytes": 1.0}))
    )
    assert "champion has no ranks" in result.refused


def test_agreement_counts_the_cycles_in_which_rung_and_full_model_pointed_the_same_way(first, tmp_path):
    context, _ = first
    settings = Settings.at(tmp_path)
    differences = {"2024-01-11": (0.1, 0.2), "2024-01-21": (0.1, -0.2), "2024-03-01": (0.1, 0.1)}
    for cycle, (rung_gain, full_gain) in differences.items():
        folder = settings.cycle_folder("tiny", cycle)
        figures = {"size": "25k", "relative_difference": rung_gain}
        write_record(folder, small_lake.record("rung_1", StageResult(figures=figures)))
        write_record(
            folder, small_lake.record("funnel", StageResult(figures={"relative_difference": full_gain}))
        )
    settings.cycle_folder("tiny", context.cycle.name).mkdir(parents=True)
    today = small_lake.after(
        replace(context, settings=settings),
        "rung_1",
        StageResult(figures={"size": "25k", "relative_difference": -0.1}),
    )
    (found,) = agreement(today, -0.3)  # 2024-03-01 lies in the future of 2024-02-10
    assert (found["rung"], found["cycles"], found["agreed"]) == ("25k", 3, 2)


def test_a_group_without_examples_is_not_judged_and_one_without_a_task_not_applicable(first):
    context, _ = first
    users = 10
    ranks = {"new": np.full(users, 2.0), "old": np.full(users, 2.0)}
    unknown = dict.fromkeys(ranks, np.full(users, np.nan))
    ranked = RankedExamples(np.arange(users), {ALL: np.ones(users, bool)}, ranks, unknown)
    found = non_inferiority(Summary(ranked, samples=100), "new", "old", "it", context.config, ("A",))
    assert {verdict.check: verdict.outcome for verdict in found} == {
        "all labels against it": "pass",
        "task A against it": "not applicable",
        "task B against it": "not judged",
        "task C against it": "not judged",
    }
