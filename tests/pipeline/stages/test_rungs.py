"""Rungs on a small lake: an honest one passes, a shuffled one is refused, four of them run in order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.data.batches import TrainingBatches
from model.evaluation import spans
from model.evaluation.names import CANDIDATE, ModelName, Variant
from model.evaluation.ranking import NotFiniteScoreError
from model.training.checkpoint import finished_state
from model.training.progress import NotFiniteError
from pipeline.config import FunnelConfig
from pipeline.cycle.context import StageContext
from pipeline.cycle.records import StageResult
from pipeline.evaluation.models import checkpoint_folder
from pipeline.settings import Settings
from pipeline.stages import rungs as module
from pipeline.stages.evaluate import evaluate
from pipeline.stages.funnel import funnel
from pipeline.stages.rungs import rung
from pipeline.stages.train import train
from pipeline.workflows.refresh_cycle import workflow
from tests.pipeline import small_lake

RUNG = ModelName.rung("25k")
FOUR = FunnelConfig(rungs=("25k", "50k", "100k", "200k"), strictness="lenient", min_users=5)


def outcomes(result: StageResult) -> dict[str, str]:
    return {verdict.check: verdict.outcome for verdict in result.figures.verdicts}


@pytest.fixture(scope="module", autouse=True)
def no_registry():
    """No live metrics are logged here: a tracking store costs seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.registry.tracking.live_metrics", lambda context, model: None)
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[StageContext, StageResult]:
    """The first cycle at its rung, and what the honest rung returns."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")))
    return context, rung(context)


@pytest.fixture(scope="module")
def second(first) -> StageContext:
    """The second cycle at its rung; its parent and reference is the first."""
    context, result = first
    return small_lake.next_cycle(small_lake.after(context, "rung_1", result))


@pytest.fixture(scope="module")
def later(second) -> StageResult:
    """What the second cycle's rung returns."""
    return rung(second)


def test_an_honest_first_rung_beats_popularity_and_reads_its_history(first):
    _, result = first
    assert result.refused is None and result.figures.outcome == "passed" and result.figures.saved is None
    checks = outcomes(result)
    assert checks["own histories against other users'"] == "pass"
    assert checks["all labels against frozen popularity"] == "pass"
    assert checks["the same rung of an earlier cycle"] == "not applicable"
    assert result.figures.compared_with is None and result.figures.relative_difference is None
    assert result.versions["ranks"] > 0


def test_frozen_popularity_must_be_beaten_where_there_is_no_earlier_rung(first, later):
    def binding(result: StageResult) -> dict[str, bool]:
        return {verdict.check: verdict.binding for verdict in result.figures.verdicts}

    frozen, chain = "all labels against frozen popularity", "all labels against the Markov chain"
    assert binding(first[1])[frozen] and not binding(first[1])[chain]
    assert not binding(later)[frozen] and not binding(later)[chain]


def test_a_first_rung_with_nothing_to_be_compared_with_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(spans, "FEWEST_EVENTS", 100_000)
    context = small_lake.write_cycle(Settings.at(tmp_path))
    quick = context.config.training.model_copy(update={"epochs": 1.0})
    result = rung(small_lake.with_config(context, training=quick))
    assert "anything to beat: fail, no yardstick has enough events to count" in result.refused
    assert outcomes(result)["all labels against frozen popularity"] == "not applicable"
    assert {row.against for row in result.figures.measures.differences} == {"rung-25k-exchanged"}


def test_a_rung_trained_on_shuffled_label_sets_is_refused_and_says_what_was_saved(tmp_path, monkeypatch):
    context = small_lake.write_cycle(Settings.at(tmp_path))
    honest = TrainingBatches.batch

    def shuffled(self, rows, *stream):
        batch = honest(self, rows, *stream)
        order = torch.randperm(
            batch.label_item.shape[0], generator=torch.Generator().manual_seed(int(rows[0]))
        )
        return replace(batch, label_item=batch.label_item[order], label_weight=batch.label_weight[order])

    monkeypatch.setattr(TrainingBatches, "batch", shuffled)
    result = rung(context)
    assert outcomes(result)["own histories against other users'"] == "fail"
    assert result.figures.outcome == "refused"
    saved = "This saved training the full model 25k"
    assert "own histories" in result.refused and result.refused.endswith(f". {saved}")
    assert result.figures.saved == saved
    assert not checkpoint_folder(context, CANDIDATE).exists()


def test_all_rungs_together_cost_their_fraction_of_the_full_models_positions(first, tmp_path):
    whole = first[1].figures.training
    assert whole.epochs == first[0].config.training.epochs  # few steps, so that the least ones are all
    two = FunnelConfig(
        rungs=("25k", "50k"), rung_cost_fraction=0.25, rung_min_steps=1, strictness="lenient", min_users=5
    )
    model = first[0].config.model.model_copy(update={"size": "50k"})
    context = small_lake.with_config(small_lake.write_cycle(Settings.at(tmp_path)), funnel=two, model=model)
    rungs = [rung(context).figures.training]
    rungs.append(rung(small_lake.at(context, "rung_2")).figures.training)
    assert rungs[0].steps == rungs[1].steps == round(whole.steps / 8)
    assert sum(one.tokens for one in rungs) == pytest.approx(0.25 * whole.tokens, rel=0.05)


def test_a_rung_below_one_pass_trains_on_a_sample_of_the_rows(tmp_path):
    context = small_lake.write_cycle(Settings.at(tmp_path))
    little = context.config.funnel.model_copy(update={"rung_cost_fraction": 0.5, "rung_min_steps": 1})
    training = context.config.training.model_copy(update={"epochs": 1.0})
    figures = rung(small_lake.with_config(context, funnel=little, training=training)).figures.training
    assert figures.epochs == 0.5


def test_rungs_of_another_length_are_not_compared_as_they_are(second):
    half = second.config.funnel.model_copy(update={"rung_cost_fraction": 0.5})
    result = rung(small_lake.with_config(second, funnel=half))
    assert result.figures.compared_with == "the configuration of cycle 2024-02-10 on the same data"


def test_the_first_rung_finds_the_passes_and_the_later_models_make_them(tmp_path):
    lake = small_lake.write_cycle(Settings.at(tmp_path))
    held_out = {"validation_days": 0.1, "epochs": 3.0}
    context = small_lake.with_config(
        lake,
        training=lake.config.training.model_copy(update=held_out),
        funnel=FunnelConfig(rungs=("25k", "50k"), strictness="lenient", min_users=5),
        model=lake.config.model.model_copy(update={"size": "50k"}),
    )
    context = small_lake.after(context, "rung_1", rung(context))
    second = rung(small_lake.at(context, "rung_2"))
    full = train(small_lake.at(context, "train"))
    found = context.finished["rung_1"].figures.training.passes
    assert found.held_out_labels >= 100 and len(found.held_out_mrr) > 1 and found.passes <= 3
    for training in (second.figures.training, full.figures.training):
        assert training.passes == found
        assert training.epochs == pytest.approx(found.passes, abs=0.1)
        assert training.labels > context.finished["rung_1"].figures.window.labels


def test_a_later_rung_is_fine_tuned_and_compared_with_the_same_rung_before(later):
    assert later.figures.compared_with == "the same rung of cycle 2024-02-10"
    assert later.figures.training.start.startswith("version 1")
    checks = outcomes(later)
    assert checks["all labels against the same rung of cycle 2024-02-10"] == "pass"
    assert checks["task A against the same rung of cycle 2024-02-10"] == "not judged"
    assert checks["task C against the same rung of cycle 2024-02-10"] == "not applicable"
    assert later.refused is None
    older, exchanged = (ModelName.rung("25k", variant) for variant in (Variant.OLDER, Variant.EXCHANGED))
    assert set(later.figures.measures.mrr) >= {RUNG, older, exchanged}
    assert later.figures.relative_difference > -0.02


def test_after_a_change_of_configuration_the_old_one_is_trained_on_the_same_data(second):
    changed = second.config.training.model_copy(update={"finetune_learning_rate": 1e-3})
    result = rung(small_lake.with_config(second, training=changed))
    assert result.figures.compared_with == "the configuration of cycle 2024-02-10 on the same data"
    control = finished_state(checkpoint_folder(second, ModelName.rung("25k", Variant.CONTROL)))
    assert control.progress["start"].startswith("version 1, cycle 2024-02-10")


def test_a_reference_that_cannot_read_todays_tables_is_not_compared(second):
    source = second.config.source
    events = source.events.model_copy(update={"position": None, "country": None, "watch_seconds": None})
    context = small_lake.with_config(second, source=source.model_copy(update={"events": events}))
    comparison = module._rank_comparison(context, None, RUNG)
    assert comparison == module.Comparison(None, "context_fields changed since cycle 2024-02-10")


def test_a_reference_without_this_rung_leaves_the_yardsticks(second):
    comparison = module._rank_comparison(second, None, ModelName.rung("100k"))
    assert comparison == module.Comparison(None, "cycle 2024-02-10 has no rung of this size")


@pytest.mark.parametrize(
    ("fails", "error", "is_trained"),
    [
        ("fit", NotFiniteError("the loss is not a finite number at step 3"), False),
        ("_rank_rung", NotFiniteScoreError("the model gave a score that is not a finite number"), True),
    ],
)
def test_a_rung_whose_loss_or_scores_are_not_finite_is_refused(first, monkeypatch, fails, error, is_trained):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(module, fails, broken)
    result = rung(first[0])
    assert "not a finite number" in result.refused
    assert outcomes(result) == {"scores": "fail"}
    assert (result.figures.training is not None) == is_trained and result.figures.measures is None


def run_funnel(context: StageContext) -> StageContext:
    """Every stage from the first rung to the funnel; the context after them."""
    functions = {stage.name: rung for stage in workflow(context.config).rungs}
    functions |= {"train": train, "evaluate": evaluate, "funnel": funnel}
    for name, function in functions.items():
        result = function(small_lake.at(context, name))
        assert result.refused is None
        context = small_lake.after(context, name, result)
    return context


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> tuple[StageContext, StageContext]:
    """Two cycles of a funnel with four rungs, each after its funnel."""
    lake = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("four")))
    model = lake.config.model.model_copy(update={"size": "400k"})
    training = lake.config.training.model_copy(update={"epochs": 8.0})  # enough to pass
    first = run_funnel(small_lake.with_config(lake, funnel=FOUR, model=model, training=training))
    return first, run_funnel(small_lake.next_cycle(first))


def test_four_rungs_run_in_order_of_size(four):
    _, second = four
    names = [stage.name for stage in workflow(second.config).rungs]
    assert names == ["rung_1", "rung_2", "rung_3", "rung_4"]
    figures = [second.finished[name].figures for name in names]
    assert tuple(rung.size for rung in figures) == FOUR.rungs
    assert {rung.compared_with for rung in figures} == {"the same rung of cycle 2024-02-10"}
    sizes = [rung.training.backbone_parameters for rung in figures]
    assert sizes == sorted(set(sizes))
    assert all(checkpoint_folder(second, ModelName.rung(size)).exists() for size in FOUR.rungs)


def test_the_funnel_counts_the_agreement_of_each_of_four_rungs(four):
    first, second = (context.finished["funnel"].figures for context in four)
    assert first.agreement == ()  # there was nothing to compare with
    assert [(rung.rung, rung.cycles) for rung in second.agreement] == [(size, 1) for size in FOUR.rungs]
    assert {pair.full for rung in second.agreement for pair in rung.pairs} == {second.relative_difference}


def test_a_refusal_by_a_middle_rung_says_what_it_saved(four):
    first, second = four
    saved = "This saved training rung 100k, rung 200k and the full model 400k (7 times this rung's backbone)"
    assert module._saved(small_lake.at(first, "rung_2")) == saved
    took = "; the full training of cycle 2024-02-10 took 1 s"
    assert module._saved(small_lake.at(second, "rung_2")) == saved + took


def test_signals_may_be_turned_on_in_a_chain(tmp_path):
    """The second cycle's models read signals and start from a version whose models read none."""
    context = small_lake.write_cycle(Settings.at(tmp_path))
    quick = context.config.training.model_copy(update={"epochs": 2.0})
    context = small_lake.with_config(context, training=quick)
    context = small_lake.after(context, "rung_1", rung(context))
    train(small_lake.at(context, "train"))
    plain = small_lake.next_cycle(context)
    signals = {"item_signals": True, "pair_signals": True, "request_time": True}
    context = small_lake.with_config(plain, model=plain.config.model.model_copy(update=signals))
    result = rung(context)
    assert result.figures.training.start == "version 1, cycle 2024-02-10"
    # The configuration has changed, so that the rung is compared with a control without signals.
    assert result.figures.compared_with == "the configuration of cycle 2024-02-10 on the same data"
    control = finished_state(checkpoint_folder(context, ModelName.rung("25k", Variant.CONTROL)))
    own = finished_state(checkpoint_folder(context, RUNG))
    assert (control.model["half_lives"], own.model["half_lives"]) == (0, 2)
    context = small_lake.after(context, "rung_1", result)
    trained = train(small_lake.at(context, "train"))
    assert trained.figures.training.parent_digest == context.cycle.parent.checkpoint_digest
    context = small_lake.after(context, "train", trained)
    evaluated = evaluate(small_lake.at(context, "evaluate"))
    assert {"candidate", "champion"} <= set(evaluated.figures.measures.mrr)
    assert evaluated.figures.not_finite is None and evaluated.figures.latency_milliseconds > 0
    context = small_lake.after(context, "evaluate", evaluated)
    checks = outcomes(funnel(small_lake.at(context, "funnel")))
    assert checks["all labels against the champion"] == "pass"
