"""The two optimizers, their schedule and their moments."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.config import TrainingConfig
from model.network.recommender import Recommender
from model.training.optimizer import (
    Schedule,
    build_optimizers,
    clip_dense_gradient,
    dense_parameters,
    load_moments,
    moments,
)
from tests.model import tiny

TRAINING = TrainingConfig(learning_rate=1e-2, embedding_learning_rate=2e-2, finetune_learning_rate=5e-3)
BATCH = tiny.batch([[[1, 2, 3], [4, 2]]], {0: [(1, 1.0)], 2: [(5, 1.0), (6, 0.5)]})
TABLE = "item_tower.table.weight"


def _step(model: Recommender, optimizers, catalogue, step: int = 0, eligible: int = 7) -> None:
    objective = tiny.objective()
    model.training_loss(BATCH, catalogue, torch.arange(eligible), objective, 0.0, 1, step)[0].backward()
    optimizers.step()


def test_the_schedule_warms_up_stays_and_falls_by_half_a_cosine():
    schedule = Schedule(total_steps=10, warmup_steps=2, decay_steps=4)
    factors = [schedule.factor(step) for step in range(11)]
    assert factors[:7] == [1 / 2, 1, 1, 1, 1, 1, 1]
    assert factors[8] == pytest.approx(1 / 2) and factors[10] == 0
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[6:]))
    assert Schedule(10, 0, 0).factor(0) == Schedule(10, 0, 0).factor(9) == 1


def test_a_run_that_ends_within_its_warm_up_never_exceeds_it():
    factors = [Schedule(total_steps=4, warmup_steps=8, decay_steps=2).factor(step) for step in range(5)]
    assert factors == [1 / 8, 2 / 8, 3 / 8, 1 / 2, 0]


def test_the_warm_up_follows_from_the_configured_passes_and_the_fall_from_those_made():
    training = TrainingConfig(warmup_fraction=0.1, decay_fraction=0.25)
    assert Schedule.of(40, 100, training) == Schedule(40, 10, 10)
    rates = [Schedule.of(steps, 100, training) for steps in (40, 100)]
    assert len({tuple(schedule.factor(step) for step in range(30)) for schedule in rates}) == 1


def test_the_schedule_applies_to_both_optimizers():
    optimizers = build_optimizers(tiny.recommender(7), TRAINING, finetune=True)
    optimizers.set_learning_rate(0.5)
    assert {group["lr"] for group in optimizers.dense.param_groups} == {0.5 * 5e-3}
    assert [group["lr"] for group in optimizers.sparse.param_groups] == [pytest.approx(0.5 * 1e-2)]


def test_weight_decay_applies_to_linear_maps_only():
    model = tiny.recommender(7)
    decayed, kept = (group["params"] for group in build_optimizers(model, TRAINING, False).dense.param_groups)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed_names = {names[parameter] for parameter in decayed}
    kept_names = {names[parameter] for parameter in kept}
    assert decayed_names | kept_names | {TABLE} == set(names.values())
    assert {"head.output.weight", "event_encoder.gap.weight"} <= decayed_names
    assert {"event_encoder.action.weight", "event_encoder.start", "head.output.bias"} <= kept_names
    assert {"item_tower.out_of_vocabulary", "backbone.norm.weight"} <= kept_names
    assert not any("norm" in name or "bias" in name for name in decayed_names)


def test_one_step_equals_dense_adam_on_touched_rows():
    """The first Adam step moves a weight by the learning rate, against the sign of its gradient."""
    model, catalogue = tiny.recommender(7), tiny.catalogue(7)
    before = model.item_tower.table.weight.detach().clone()
    optimizers = build_optimizers(model, TRAINING, finetune=False)
    model.training_loss(BATCH, catalogue, torch.arange(7), tiny.objective(), 0.0, 1, 0)[0].backward()
    gradient = model.item_tower.table.weight.grad.to_dense()
    optimizers.step()
    expected = before - 2e-2 * gradient / (gradient.abs() + 1e-8)
    after = model.item_tower.table.weight.detach()
    torch.testing.assert_close(after, expected, atol=4 * torch.finfo(torch.float32).eps, rtol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_untouched_rows_keep_values_and_moments():
    model, catalogue = tiny.recommender(1000), tiny.catalogue(1000)
    optimizers = build_optimizers(model, TRAINING, finetune=False)
    state = optimizers.sparse.state[model.item_tower.table.weight]
    for moment in ("exp_avg", "exp_avg_sq"):
        state[moment].normal_()
    before = {"weight": model.item_tower.table.weight.detach().clone(), **copy.deepcopy(state)}
    _step(model, optimizers, catalogue)
    after = {"weight": model.item_tower.table.weight.detach(), **state}
    for name in ("weight", "exp_avg", "exp_avg_sq"):
        changed = (before[name] != after[name]).any(dim=1).nonzero().flatten().tolist()
        assert changed == [0, 1, 2, 3, 4, 5, 6]  # items of the batch, its labels and its negatives


class _Elements(TorchDispatchMode):
    """Records the size of the largest tensor that an operation creates or overwrites in full."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        row_wise = any(isinstance(value, torch.Tensor) and value.is_sparse for value in args)
        row_wise |= function is torch.ops.aten.index_copy_.default
        given = {id(value) for value in tree_leaves(args)}
        for value in tree_leaves(result):
            fresh = isinstance(value, torch.Tensor) and not value.is_sparse and not value._is_view()
            in_place = id(value) in given
            if fresh and not (in_place and row_wise) and function is not torch.ops.aten.detach.default:
                self.largest = max(self.largest, value.numel())
        return result


@pytest.mark.parametrize("row_step_counts", [True, False])
def test_a_million_rows_cost_no_more_than_the_batch(row_step_counts):
    """With V = 1M no operation of a step creates or rewrites a tensor of V × d_e elements, or even V × 2."""
    rows = 1_000_000
    model, catalogue = tiny.recommender(rows), tiny.catalogue(rows)
    training = TRAINING.model_copy(update={"row_step_counts": row_step_counts})
    optimizers = build_optimizers(model, training, finetune=False)
    weight = model.item_tower.table.weight
    before = weight.detach().clone()
    with _Elements() as counted:
        _step(model, optimizers, catalogue)
    assert counted.largest <= rows  # the masks: one draw per item
    touched = (weight.detach() != before).any(dim=1).nonzero().flatten().tolist()
    assert touched == [0, 1, 2, 3, 4, 5, 6]
    state = optimizers.sparse.state[weight]
    assert (state["exp_avg"] != 0).any(dim=1).nonzero().flatten().tolist() == touched


def test_clipping_does_not_change_the_tables_gradient():
    model, catalogue = tiny.recommender(7), tiny.catalogue(7)
    model.training_loss(BATCH, catalogue, torch.arange(7), tiny.objective(), 0.0, 1, 0)[0].backward()
    rows = model.item_tower.table.weight.grad.to_dense()
    norm = clip_dense_gradient(model, 1e-3)
    clipped = torch.stack([p.grad.norm() for _, p in dense_parameters(model) if p.grad is not None]).norm()
    assert norm > 1e-3 and clipped.item() == pytest.approx(1e-3, rel=1e-3)
    assert torch.equal(model.item_tower.table.weight.grad.to_dense(), rows)


@pytest.mark.parametrize("row_step_counts", [True, False])
def test_moments_saved_and_loaded_continue_bit_identically(row_step_counts):
    training = TRAINING.model_copy(update={"row_step_counts": row_step_counts})
    catalogue = tiny.catalogue(7)
    uninterrupted = tiny.recommender(7)
    optimizers = build_optimizers(uninterrupted, training, finetune=False)
    for step in range(2):
        _step(uninterrupted, optimizers, catalogue, step)
    saved = {name: value.clone() for name, value in moments(uninterrupted, optimizers).items()}
    weights = copy.deepcopy(uninterrupted.state_dict())
    resumed = tiny.recommender(7, seed=5)
    resumed.load_state_dict(weights)
    restored = build_optimizers(resumed, training, finetune=False)
    load_moments(resumed, restored, saved)
    for step in (2, 3):
        _step(uninterrupted, optimizers, catalogue, step)
        _step(resumed, restored, catalogue, step)
    for name, tensor in uninterrupted.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert all(isinstance(value, torch.Tensor) for value in saved.values())


def test_step_counts_of_the_other_form_are_converted():
    catalogue, by_form = tiny.catalogue(9), {}
    for row_step_counts in (True, False):
        model = tiny.recommender(9)
        training = TRAINING.model_copy(update={"row_step_counts": row_step_counts})
        optimizers = build_optimizers(model, training, finetune=False)
        for step in range(3):
            _step(model, optimizers, catalogue, step)
        by_form[row_step_counts] = (model, optimizers, moments(model, optimizers))
    model, optimizers, _ = by_form[True]
    load_moments(model, optimizers, by_form[False][2])
    counts = optimizers.sparse.state[model.item_tower.table.weight]["row_steps"]
    assert counts.tolist() == [3] * 7 + [0, 0]  # the last two items are in no batch and no sample
    model, optimizers, _ = by_form[False]
    load_moments(model, optimizers, by_form[True][2])
    assert optimizers.sparse.state[model.item_tower.table.weight]["step"] == 3


def test_moments_that_do_not_fit_are_refused():
    model = tiny.recommender(7)
    optimizers = build_optimizers(model, TRAINING, finetune=False)
    with pytest.raises(ValueError, match="'nothing/exp_avg' belongs to no parameter"):
        load_moments(model, optimizers, {"nothing/exp_avg": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"has shape \(2,\); the parameter has \(32,\)"):
        load_moments(model, optimizers, {"event_encoder.start/exp_avg": torch.zeros(2)})
