"""Which items lose their ID embedding in a training step: some at all times, so that the semantic map learns to
replace it, and some only while they are young, so that e_OOV learns what a new item is.

The item tower gives a masked item e_OOV instead.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.draws import Purpose, random_stream


def draw_masks(items: int, rate: float, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Draws for each item whether its ID embedding is replaced by e_OOV in this step.

    An item is masked with probability `rate`, on the input side or on the output side with equal
    chance and never on both (Xu et al., 2026, section 6). The draw is per item and step, not per
    occurrence, so that positives and negatives are masked alike; otherwise e_OOV would come to mean
    "positive".

    Returns (masked_input, masked_output), bool [N] each, on the CPU. Costs one draw per item. Raises
    ValueError for a rate outside [0, 1].
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"masking rate is {rate}; allowed is a fraction from 0 to 1")
    draws = random_stream(Purpose.MASKS, seed, step).random(items, dtype=np.float32)
    masked_input = draws < rate / 2
    masked_output = (draws < rate) & ~masked_input
    return torch.from_numpy(masked_input), torch.from_numpy(masked_output)


def draw_new(items: int, rate: float, seed: int, step: int) -> Tensor:
    """Draws for each item whether it has e_OOV while it is young in this step: bool [N], on the CPU.

    A new item has e_OOV when it is ranked. Were e_OOV only seen on masked items of any age, it would never come to
    mean "new". As with masks the draw is per item and step, so that positives and negatives are alike.
    """
    return torch.from_numpy(random_stream(Purpose.NEWNESS, seed, step).random(items, dtype=np.float32) < rate)
