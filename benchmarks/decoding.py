"""Time of a training step for four ways of decoding, with the analytical cost.

    python -m benchmarks.decoding [--vocabulary 100000] [--size 2m] [--tokens 1024] [--repeats 3]

Trains a few steps on random events with all items or a 1 % sample of them as negatives, scored at the
backbone's width d or after the projected head at d/8. Prints CPU milliseconds per step (forward, backward
and optimizers on one thread, median of the repeats, unaffected by other processes) and how many times
cheaper it is than full decoding at width d, by measured time and by the standard count of FLOPs. The
sample is exactly 1 %, without training's minimum of 2,048.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from model.config import ModelConfig, ObjectiveConfig, TrainingConfig
from model.network.batch import Batch
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender
from model.scaling.cost import Cost, standard_full, standard_reduced
from model.sizes import SIZES
from model.training.optimizer import build_optimizers

ITEM_WIDTH = 64
LANGUAGE_WIDTH = 64
SEQUENCE_LENGTH = 256
NEGATIVES_FRACTION = 0.01


def random_batch(items: int, tokens: int, generator: torch.Generator) -> Batch:
    """Full rows of one sequence each; every position's label is the next item."""
    rows = max(1, tokens // SEQUENCE_LENGTH)
    shape = (rows, SEQUENCE_LENGTH)
    item = torch.randint(items, (rows, SEQUENCE_LENGTH + 1), generator=generator)
    zeros = torch.zeros(shape)
    return Batch(
        item_index=item[:, :-1],
        is_start=torch.zeros(shape, dtype=torch.bool),
        action=zeros.long(),
        context=torch.zeros(*shape, 0, dtype=torch.int64),
        reward=zeros + 1,
        gap_seconds=zeros + 60,
        event_at_seconds=torch.arange(SEQUENCE_LENGTH).double().expand(shape) * 60 + 1.7e9,
        segment=torch.ones(shape, dtype=torch.int64),
        label_slot=torch.arange(rows * SEQUENCE_LENGTH),
        label_item=item[:, 1:].reshape(-1, 1),
        label_weight=torch.ones(rows * SEQUENCE_LENGTH, 1),
    )


def step_milliseconds(config: ModelConfig, softmax: str, vocabulary: int, tokens: int, repeats: int) -> float:
    """Median CPU time of a training step on one thread, after one that warms up."""
    generator = torch.Generator().manual_seed(0)
    features = {"language": torch.randn(vocabulary, LANGUAGE_WIDTH, generator=generator)}
    everything = torch.arange(vocabulary)
    catalogue = Catalogue(everything, features)
    objective = ObjectiveConfig(
        label_window=1, softmax=softmax, negatives_fraction=NEGATIVES_FRACTION, negatives_minimum=1
    )
    model = Recommender(config, vocabulary)
    optimizers = build_optimizers(model, TrainingConfig(), finetune=False)
    times = []
    for step in range(repeats + 1):
        batch = random_batch(vocabulary, tokens, generator)
        begin = time.process_time()
        model.training_loss(batch, catalogue, everything, objective, 0.02, 1, step)[0].backward()
        optimizers.step()
        times.append(1000 * (time.process_time() - begin))
    return statistics.median(times[1:])


def counted(config: ModelConfig, softmax: str, vocabulary: int) -> Cost:
    """Training FLOPs per token by the standard count."""
    size, width = config.backbone, config.output_width
    if softmax == "full" and width == size.width:
        return standard_full(size.layers, size.width, SEQUENCE_LENGTH, vocabulary)
    scored = vocabulary if softmax == "full" else NEGATIVES_FRACTION * vocabulary + 1
    return standard_reduced(size.layers, size.width, SEQUENCE_LENGTH, width, scored)


def main() -> None:
    """Measures the four ways and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=100_000)
    parser.add_argument("--size", choices=SIZES, default="2m")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens per step")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    width = SIZES[given.size].width
    ways = [(softmax, out) for out in (width, max(32, width // 8)) for softmax in ("full", "sampled")]
    print(f"V = {given.vocabulary:,}, size {given.size}, d = {width}, {given.tokens} tokens per step")
    heads = ("d_out", "CPU ms", "cheaper", "FLOPs/token", "cheaper")
    print(f"{'decoding':10} {heads[0]:>5} {heads[1]:>10} {heads[2]:>9} {heads[3]:>14} {heads[4]:>9}")
    first: tuple[float, float] | None = None
    for softmax, out in ways:
        config = ModelConfig(
            size=given.size,
            item_width=ITEM_WIDTH,
            output_width=out,
            modalities=(("language", LANGUAGE_WIDTH),),
            max_length=SEQUENCE_LENGTH,
        )
        measured = step_milliseconds(config, softmax, given.vocabulary, given.tokens, given.repeats)
        flops = counted(config, softmax, given.vocabulary).total
        first = first or (measured, flops)
        print(
            f"{softmax:10} {out:5d} {measured:10.0f} {first[0] / measured:8.1f}× "
            f"{flops:14.2e} {first[1] / flops:8.1f}×",
            flush=True,
        )


if __name__ == "__main__":
    main()
