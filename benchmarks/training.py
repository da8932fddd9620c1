"""Training throughput on the CPU compared with its floor, and where a step's time goes.

    python -m benchmarks.training [--size 200k] [--events 200000] [--threads 1 2] [--batch-tokens 4096 1024]

Synthetic histories (log-normal lengths, Zipf items, half of the events high-value) go through the real
path: label look-up, packing, batches, loss and both optimizers, under Lightning. Speeds are per second of
CPU time, so that other processes hardly matter; wall-clock throughput is printed too. The floor is the
FLOPs of a token (model.scaling.cost plus the tower's products) over the speed of a large matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
import torch

from expectations.instants import HOUR_US
from model.config import ModelConfig, ObjectiveConfig, TrainingConfig
from model.data.batches import LabelInterval, TrainingBatches
from model.data.packing import Events
from model.data.sequences import Sequences
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender
from model.network.sampled_softmax import negatives_count
from model.scaling.cost import standard_reduced
from model.training.lightning_module import Plan, RefreshModule, Watch, run
from model.training.optimizer import Schedule, build_optimizers, clip_dense_gradient
from model.training.progress import Progress

MAX_LENGTH = 256
WARM_UP = 2


def synthetic(events: int, items: int, mean_length: float = 60.0, seed: int = 0) -> Sequences:
    """Histories of log-normal length, cut into rows of MAX_LENGTH without overlap."""
    stream = np.random.default_rng(seed)
    lengths = np.ceil(stream.lognormal(np.log(mean_length) - 0.5, 1.0, size=2 * events // int(mean_length)))
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), events) + 1].astype(np.int64)
    rows = [min(MAX_LENGTH, n - start) for n in lengths for start in range(0, n, MAX_LENGTH)]
    begins = np.array([start == 0 for n in lengths for start in range(0, n, MAX_LENGTH)])
    length = np.array(rows, dtype=np.int64)
    first = np.cumsum(length) - length
    total = int(length.sum())
    gap_us = stream.lognormal(np.log(HOUR_US), 2.0, size=total).astype(np.int64)
    gap_us[stream.random(total) < 0.2] = 0
    event_at_us = np.cumsum(gap_us) - np.repeat(np.cumsum(gap_us)[first], length)
    item = np.minimum(stream.zipf(1.2, size=total) - 1, items - 1)
    reward = (stream.random(total) < 0.5).astype(np.float32)
    owner = np.repeat(np.arange(length.size), length)
    high = np.flatnonzero(reward > 0)
    targets = np.bincount(owner[high], minlength=length.size)
    empty = np.zeros(length.size, dtype=np.int64)
    return Sequences(
        events=Events(
            item.astype(np.int32),
            stream.integers(0, 3, total).astype(np.int8),
            event_at_us,
            reward,
            stream.integers(0, 512, (total, 2)).astype(np.int16),
        ),
        first=first,
        length=length,
        begins=begins,
        loss_start=empty,
        first_target=np.cumsum(targets) - targets,
        targets=targets,
        target_position=(high - first[owner[high]]).astype(np.int32),
        first_tail=empty,
        tails=empty,
        tail_item_index=np.empty(0, np.int32),
        tail_event_at_us=np.empty(0, np.int64),
        tail_reward=np.empty(0, np.float32),
        seen=np.ones(items, dtype=bool),
    )


def matrix_speed(seconds: float = 1.0) -> float:
    """FLOPs per CPU second of a large float32 matrix product with the current number of threads."""
    left, right = torch.randn(4096, 1024), torch.randn(1024, 1024)
    left @ right
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        left @ right
        done += 1
    return done * 2 * 4096 * 1024 * 1024 / (time.process_time() - start)


def floor_flops(
    config: ModelConfig, objective: ObjectiveConfig, items: int, batches: TrainingBatches
) -> float:
    """The fewest FLOPs per token: backbone, attention within the token's sequence, head and decoding at
    loss positions, and the item tower once per distinct item of the batch."""
    width, layers = config.backbone.width, config.backbone.layers
    negatives = negatives_count(items, items, objective)
    length = batches.sequences.length
    own_length = float((length**2).sum() / length.sum()) / 2  # causal, within the sequence
    cost = standard_reduced(layers, width, 0, config.output_width, negatives + objective.label_window)
    tokens = batches.packing.used_slots
    loss_fraction = batches.coverage.positions / tokens
    feature_width = sum(size for _, size in config.modalities)
    tower = 6 * config.item_width * (feature_width + 2 * config.item_width + width + config.output_width)
    distinct_per_token = negatives / (tokens / batches.steps_per_epoch)
    attention = 12 * layers * own_length * width
    return (
        cost.backbone
        + attention
        + loss_fraction * (cost.decoding + cost.projection)
        + tower * distinct_per_token
    )


def parts(module: RefreshModule, batches: TrainingBatches, steps: int) -> dict[str, float]:
    """CPU seconds per step of each part, without Lightning and without the first steps."""
    spent: dict[str, float] = defaultdict(float)
    plan, model = module.plan, module.model
    for step in range(steps):
        marks = [time.process_time()]
        batch = batches[step]
        marks.append(time.process_time())
        loss, _ = model.training_loss(
            batch, plan.catalogue, plan.eligible, plan.objective, plan.masking_rate, 1, step
        )
        marks.append(time.process_time())
        loss.backward()
        marks.append(time.process_time())
        clip_dense_gradient(model, 1.0)
        module.pair.step()
        marks.append(time.process_time())
        if step >= WARM_UP:
            for name, took in zip(("data", "forward", "backward", "optimizer"), np.diff(marks), strict=True):
                spent[name] += took / (steps - WARM_UP)
    return spent


def measure(
    size: str, events: int, items: int, threads: int, batch_tokens: int, steps: int
) -> dict[str, float]:
    """One row of the printed table."""
    torch.set_num_threads(threads)
    config = ModelConfig(size=size, actions=3, context_fields=("page", "country"), max_length=MAX_LENGTH)
    objective = ObjectiveConfig(half_life_hours=24.0)
    sequences = synthetic(events, items)
    interval = LabelInterval(None, np.iinfo(np.int64).max)
    batches = TrainingBatches(sequences, objective, interval, batch_tokens, MAX_LENGTH + 1, 1.0, seed=1)
    stream = torch.Generator().manual_seed(0)
    features = {name: torch.randn(items, width, generator=stream) for name, width in config.modalities}
    training = TrainingConfig(threads=threads, checkpoint_every_steps=10**6, batch_tokens=batch_tokens)
    catalogue, schedule = Catalogue(torch.arange(items), features), Schedule.of(steps, steps, training)
    plan = Plan(objective, training, schedule, 0.1, catalogue, torch.arange(items), None)
    model = Recommender(config, items)
    optimizers = build_optimizers(model, training, finetune=False)
    module = RefreshModule(model, optimizers, plan, Progress(steps, batches.steps_per_epoch))
    spent = parts(module, batches, steps)
    batches.total_steps = steps
    run(module, batches, Watch(lambda line: None, lambda: None), None)
    speed = matrix_speed()
    floor = floor_flops(config, objective, items, batches)
    tokens = batches.packing.used_slots / batches.steps_per_epoch
    achieved = tokens / sum(spent.values())
    return {
        "threads": threads,
        "batch": batch_tokens,
        "tokens/s (wall)": module.progress.tokens_per_second,
        "tokens/s (CPU)": achieved,
        "packing": batches.packing.efficiency,
        **{f"{name} ms": 1e3 * value for name, value in spent.items()},
        "GFLOP/s": speed / 1e9,
        "MFLOP/token": floor / 1e6,
        "floor tokens/s": speed / floor,
        "times floor": speed / floor / achieved,
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="200k")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[4096, 1024])
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    rows = [
        measure(given.size, given.events, given.items, threads, tokens, given.steps)
        for threads in given.threads
        for tokens in given.batch_tokens
    ]
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        values = (f"{row[name]:,.3g}" if row[name] < 100 else f"{row[name]:,.0f}" for name in names)
        print("| " + " | ".join(values) + " |")


if __name__ == "__main__":
    main()
