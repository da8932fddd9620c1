"""Random streams that depend on nothing but what they are for, the seed and the step.

A training step draws its negatives, its masks and its dropout from streams named here, so that a
task killed and resumed meets the same draws, whatever the process drew before. The streams do not
depend on the device. This module does not know what is drawn.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for; the numbers are part of every trained model's history."""

    NEGATIVES = 1
    MASKS = 2
    DROPOUT = 3
    PACKING = 4
    EPOCH = 5
    INITIAL_WEIGHTS = 6
    HELD_OUT = 7


def random_stream(purpose: Purpose, seed: int, step: int) -> np.random.Generator:
    """A generator of its own for (purpose, seed, step); neighbours are independent."""
    return np.random.default_rng((int(purpose), seed, step))


def torch_seed(purpose: Purpose, seed: int, step: int) -> int:
    """A 63-bit seed for torch's generators, for (purpose, seed, step)."""
    return int(random_stream(purpose, seed, step).integers(2**63))
