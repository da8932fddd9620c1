"""Warm start: a new model takes its parent's weights; its vocabulary may be larger.

Rows of known items are copied bit for bit. A new item's row starts at e_OOV, so that with the same
features no old score changes and a new item scores as it did when it was cold. The schedule starts over:
this is not a resume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.network.recommender import Recommender
from model.training.optimizer import MOMENTS, ROW_STEPS, Optimizers, load_moments

TABLE = "item_tower.table.weight"
ADDED_TERMS = ("item_term.", "pair_term.", "request.")
"""Parts of a model that its parent may lack …"""
ZEROED = ("item_term.weights.", "pair_term.weights.", "pair_term.from_item.", "request.outer.")
"""… and the maps that make them count for nothing while they are zero."""
OUT_OF_VOCABULARY = "item_tower.out_of_vocabulary"


@dataclass(frozen=True)
class Growth:
    """How the ID table grew in a warm start."""

    known_rows: int
    """Rows carried over from the parent."""
    new_rows: int
    """Rows that start at e_OOV."""


def start_from_parent(model: Recommender, parent_weights: Mapping[str, Tensor]) -> Growth:
    """Copies the parent's weights into `model`, whose ID table may have more rows.

    A term that the parent lacks (signals, the time of the request) starts with weights of zero, so that it adds
    nothing to any score. Raises ValueError that names each tensor that does not fit: the parent has another
    architecture, or more rows than this vocabulary (tokens are append-only, so a vocabulary never shrinks).
    """
    own = model.state_dict()
    added = {name for name in own if name.startswith(ADDED_TERMS) and name not in parent_weights}
    _check({name: tensor for name, tensor in own.items() if name not in added}, parent_weights)
    known = parent_weights[TABLE].shape[0]
    with torch.no_grad():
        for name, tensor in own.items():
            if name == TABLE:
                tensor[:known] = parent_weights[TABLE]
                tensor[known:] = parent_weights[OUT_OF_VOCABULARY]
            elif name not in added:
                tensor.copy_(parent_weights[name])
            elif name.startswith(ZEROED):
                tensor.zero_()
    return Growth(known_rows=known, new_rows=own[TABLE].shape[0] - known)


def carry_moments(model: Recommender, optimizers: Optimizers, parent_moments: Mapping[str, Tensor]) -> None:
    """Copies the parent's optimizer moments and step counts; those of new rows are zero.

    The counts belong to the moments, through Adam's bias correction. Raises ValueError as
    `load_moments`. Without this call training starts with zero moments.
    """
    rows = model.vocabulary_size
    by_row = {f"{TABLE}/{name}" for name in (*MOMENTS, ROW_STEPS)}
    grown = {
        name: _with_rows(tensor, rows) if name in by_row else tensor
        for name, tensor in parent_moments.items()
    }
    load_moments(model, optimizers, grown)


def _with_rows(tensor: Tensor, rows: int) -> Tensor:
    grown = tensor.new_zeros(rows, *tensor.shape[1:])
    grown[: tensor.shape[0]] = tensor
    return grown


def _check(own: Mapping[str, Tensor], parent: Mapping[str, Tensor]) -> None:
    problems = [f"{name} is missing in the parent" for name in own if name not in parent]
    problems += [f"{name} is unknown to this model" for name in parent if name not in own]
    for name in own.keys() & parent.keys():
        given, allowed = tuple(parent[name].shape), tuple(own[name].shape)
        fits = given[1:] == allowed[1:] and given[0] <= allowed[0] if name == TABLE else given == allowed
        if not fits:
            at_most = "at most " if name == TABLE else ""
            problems.append(f"{name} is {given} in the parent; allowed is {at_most}{allowed}")
    if problems:
        raise ValueError(
            "the parent's weights do not fit this model: " + "; ".join(sorted(problems)) + "; "
            "train with the parent's model configuration, or start cold"
        )
