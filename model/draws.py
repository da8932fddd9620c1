"""Random streams that depend only on their purpose, the seed and the step.

A training step draws negatives, masks and dropout from these streams, so that a run that was killed and
resumed makes the same draws as one that was not. The streams do not depend on the device.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. Trained models depend on the numbers: never change or reuse one."""

    NEGATIVES = 1
    MASKS = 2
    DROPOUT = 3
    PACKING = 4
    EPOCH = 5
    INITIAL_WEIGHTS = 6
    HELD_OUT = 7
    PAIRS = 8
    NEWNESS = 9


def random_stream(purpose: Purpose, seed: int, step: int) -> np.random.Generator:
    """The generator for (purpose, seed, step); streams are independent of each other."""
    return np.random.default_rng((int(purpose), seed, step))


def torch_seed(purpose: Purpose, seed: int, step: int) -> int:
    """A 63-bit seed for torch's generators, for (purpose, seed, step)."""
    return int(random_stream(purpose, seed, step).integers(2**63))
