from __future__ import annotations

import pytest
import torch

from model.config import TrainingConfig
from model.data.batches import LabelInterval, TrainingBatches
from model.training.held_out import held_out
from model.training.lightning_module import CallableLogger, Plan, RefreshModule, Watch, run
from model.training.optimizer import build_optimizers, clip_dense_gradient, learning_rate_factor
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
    plan = Plan(tiny.objective(), training, 0.3, tiny.catalogue(ITEMS, 40), torch.arange(ITEMS), examples)
    progress = Progress(batches.total_steps, batches.steps_per_epoch)
    return RefreshModule(model, build_optimizers(model, training, finetune=False), plan, progress)


def quiet(one: RefreshModule) -> Watch:
    return Watch(lambda line: None, lambda: None)


def test_a_run_equals_the_steps_taken_by_hand(batches):
    one, other = module(batches), module(batches)
    run(one, batches, quiet(one), None)
    plan, model, steps = other.plan, other.model.train(), batches.total_steps
    for step in range(steps):
        other.pair.set_learning_rate(learning_rate_factor(step, steps, plan.training.warmup_fraction))
        loss, _ = model.training_loss(
            batches[step], plan.catalogue, plan.eligible, plan.objective, plan.masking_rate, 1, step
        )
        loss.backward()
        clip_dense_gradient(model, plan.training.gradient_clip)
        other.pair.step()
    assert one.progress.step == steps
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_metrics_lines_and_states_are_told_while_it_trains(batches, monkeypatch):
    monkeypatch.setattr("model.training.lightning_module.SECONDS_BETWEEN_LINES", 3600.0)
    one = module(batches)
    lines, metrics, saved = [], [], []
    watch = Watch(lines.append, lambda: saved.append(one.progress.step))
    run(one, batches, watch, lambda figures, step: metrics.append((step, figures)))
    steps = batches.total_steps
    assert saved == list(range(3, steps, 3))
    assert [step for step, _ in metrics][-1] == steps
    wanted = {"loss", "tokens_per_second", "validation_mrr", "negligible_label_fraction"}
    assert wanted <= set(metrics[-1][1])
    assert len(lines) == 1 and lines[0].startswith(f"step {steps}/{steps}, epoch 2.0/2, loss ")
    assert [step for step, _ in one.progress.held_out_mrr][-1] == steps
    assert all(0 < mrr <= 1 for _, mrr in one.progress.held_out_mrr)


def test_a_line_comes_every_few_seconds_and_not_every_step(batches, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr("model.training.lightning_module.time.perf_counter", lambda: next(clock) * 0.6)
    one, lines = module(batches, with_held_out=False), []
    run(one, batches, Watch(lines.append, lambda: None), None)
    # Two looks at the clock a step: 1.2 s a step, a line after 5 s is one after five steps.
    assert 1 < len(lines) <= 1 + batches.total_steps // 4


def test_held_out_examples_do_not_change_the_weights(batches):
    watched, blind = module(batches), module(batches, with_held_out=False)
    for one in (watched, blind):
        run(one, batches, quiet(one), None)
    assert not blind.progress.held_out_mrr
    for name, tensor in watched.model.state_dict().items():
        assert torch.equal(tensor, blind.model.state_dict()[name]), name


def test_a_loss_that_is_no_number_stops_the_run(batches):
    one = module(batches)
    with torch.no_grad():
        one.model.head.output.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="nan at step 1"):
        run(one, batches, quiet(one), None)


def test_the_process_is_left_as_it_was(batches):
    one = module(batches, with_held_out=False)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    run(one, batches, quiet(one), None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_bf16_trains_close_to_float32(batches):
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        one = module(batches, with_held_out=False, precision=precision)
        run(one, batches, quiet(one), None)
        assert all(parameter.dtype == torch.float32 for parameter in one.model.parameters())
        losses.append(one.progress.losses[-1][1])
    # bfloat16 keeps 8 bits: a relative 2⁻⁸ a product, a few of them in a row.
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_logger_passes_figures_on():
    found = []
    logger = CallableLogger(lambda figures, step: found.append((figures, step)))
    logger.log_metrics({"loss": 1.0}, 3)
    logger.log_hyperparams({})
    assert found == [({"loss": 1.0}, 3)] and logger.name == "live"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_trains_within_a_tolerance_of_the_cpu(batches):
    losses = []
    for accelerator in ("cpu", "cuda"):
        one = module(batches, accelerator=accelerator)
        run(one, batches, quiet(one), None)
        losses.append(one.progress.losses[-1][1])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
