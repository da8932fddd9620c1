"""Runs under Lightning: the steps, and what is reported and saved."""

from __future__ import annotations

import pytest
import torch

from model.config import TrainingConfig
from model.data.batches import LabelInterval, TrainingBatches
from model.training.held_out import held_out
from model.training.lightning_module import CallableLogger, Plan, RefreshModule, Watch, run
from model.training.optimizer import Schedule, build_optimizers, clip_dense_gradient
from model.training.progress import NotFiniteError, Progress
from tests.model import lake, tiny
from tests.model.rows import sequences

ITEMS = 64


@pytest.fixture
def batches(tmp_path) -> TrainingBatches:
    data = sequences(tmp_path, lake.histories(users=12))
    return TrainingBatches(data, tiny.objective(), LabelInterval(None, 10**15), 68, 17, epochs=2.0, seed=1)


def module(batches: TrainingBatches, with_held_out: bool = True, **changes) -> RefreshModule:
    training = TrainingConfig(**({"threads": 1, "checkpoint_every_steps": 3, "accelerator": "cpu"} | changes))
    model = tiny.recommender(40, context_fields=(), dropout=0.2)
    examples = held_out(batches.sequences, batches.interval, 68, 17, 1) if with_held_out else None
    schedule = Schedule.of(batches.total_steps, batches.total_steps, training)
    catalogue, eligible = tiny.catalogue(ITEMS, 40), torch.arange(ITEMS)
    plan = Plan(tiny.objective(), training, schedule, 0.3, catalogue, eligible, examples)
    progress = Progress(batches.total_steps, batches.steps_per_epoch, validate_every=4)
    return RefreshModule(model, build_optimizers(model, training, finetune=False), plan, progress)


def quiet() -> Watch:
    """Reports and saves nothing."""
    return Watch(lambda line: None, lambda: None)


def test_a_run_equals_its_steps_taken_without_lightning(batches):
    trained, manual = module(batches), module(batches)
    run(trained, batches, quiet(), None)
    plan, model, steps = manual.plan, manual.model.train(), batches.total_steps
    for step in range(steps):
        manual.pair.set_learning_rate(plan.schedule.factor(step))
        loss, _ = model.training_loss(
            batches[step], plan.catalogue, plan.eligible, plan.objective, plan.masking_rate, 1, step
        )
        loss.backward()
        clip_dense_gradient(model, plan.training.gradient_clip)
        manual.pair.step()
    assert trained.progress.step == steps
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_run_reports_metrics_and_lines_and_saves_states(batches, monkeypatch):
    monkeypatch.setattr("model.training.lightning_module.SECONDS_BETWEEN_LINES", 3600.0)
    trained = module(batches)
    lines, metrics, saved = [], [], []
    watch = Watch(lines.append, lambda: saved.append(trained.progress.step))
    run(trained, batches, watch, lambda figures, step: metrics.append((step, figures)))
    steps = batches.total_steps
    assert saved == list(range(3, steps, 3))
    assert [step for step, _ in metrics][-1] == steps
    reported = {"loss", "tokens_per_second", "validation_mrr", "negligible_label_fraction"}
    assert reported <= set(metrics[-1][1])
    assert len(lines) == 1 and lines[0].startswith(f"step {steps}/{steps}, epoch 2.0/2, loss ")
    assert [step for step, _ in trained.progress.held_out_mrr][-1] == steps
    assert all(0 < mrr <= 1 for _, mrr in trained.progress.held_out_mrr)


def test_a_line_is_shown_every_few_seconds_and_not_every_step(batches, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("model.training.lightning_module.time.perf_counter", lambda: next(clock) * 0.6)
    lines = []
    run(module(batches, with_held_out=False), batches, Watch(lines.append, lambda: None), None)
    # The clock is read twice per step: 1.2 s per step, so a line every 5 s is one every five steps.
    assert 1 < len(lines) <= 1 + batches.total_steps // 4


def test_held_out_mrr_that_no_longer_grows_ends_the_run(batches, monkeypatch):
    values = iter([0.2, 0.1, 0.1, 0.9])
    monkeypatch.setattr("model.training.lightning_module.held_out_mrr", lambda *_: next(values))
    trained = module(batches)
    trained.progress.validate_every, trained.progress.patience = 1, 2
    run(trained, batches, quiet(), None)
    assert trained.progress.step == 3 < batches.total_steps and trained.progress.best == (1, 0.2)


def test_held_out_examples_do_not_change_the_weights(batches):
    watched, blind = module(batches), module(batches, with_held_out=False)
    for trained in (watched, blind):
        run(trained, batches, quiet(), None)
    assert not blind.progress.held_out_mrr
    for name, tensor in watched.model.state_dict().items():
        assert torch.equal(tensor, blind.model.state_dict()[name]), name


def test_a_loss_that_is_not_finite_stops_the_run(batches):
    broken = module(batches)
    with torch.no_grad():
        broken.model.head.output.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="nan at step 1"):
        run(broken, batches, quiet(), None)


def test_a_run_restores_the_global_state_of_torch(batches):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    run(module(batches, with_held_out=False), batches, quiet(), None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_bf16_trains_close_to_float32(batches):
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        trained = module(batches, with_held_out=False, precision=precision)
        run(trained, batches, quiet(), None)
        assert all(parameter.dtype == torch.float32 for parameter in trained.model.parameters())
        losses.append(trained.progress.losses[-1][1])
    # bfloat16 keeps 8 bits: a relative error of 2⁻⁸ per product, and a few products in a row.
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_logger_forwards_figures():
    logged = []
    logger = CallableLogger(lambda figures, step: logged.append((figures, step)))
    logger.log_metrics({"loss": 1.0}, 3)
    logger.log_hyperparams({})
    assert logged == [({"loss": 1.0}, 3)] and logger.name == "live"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_trains_within_a_tolerance_of_the_cpu(batches):
    losses = []
    for accelerator in ("cpu", "cuda"):
        trained = module(batches, accelerator=accelerator)
        run(trained, batches, quiet(), None)
        losses.append(trained.progress.losses[-1][1])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
