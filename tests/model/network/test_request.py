"""The time of the request: ignored by an untrained model, and by any model where it is unknown."""

from __future__ import annotations

import torch

from model.network.request import Request

NAN = float("nan")


def _trained() -> Request:
    torch.manual_seed(0)
    request = Request(8)
    torch.nn.init.normal_(request.outer.weight)
    return request


def test_an_untrained_model_ignores_when_a_request_is_made():
    hidden = torch.randn(3, 8)
    times = torch.tensor([1e9, 2e9, NAN], dtype=torch.float64)
    assert torch.equal(Request(8)(hidden, times, times - 60), hidden)


def test_an_unknown_time_changes_nothing():
    hidden = torch.randn(2, 8)
    times = torch.tensor([NAN, 1e9], dtype=torch.float64)
    changed = _trained()(hidden, times, torch.tensor([5e8, 5e8], dtype=torch.float64))
    assert torch.equal(changed[0], hidden[0]) and not torch.allclose(changed[1], hidden[1])


def test_the_gap_and_the_time_of_week_are_read_and_a_missing_last_event_is_known():
    request, hidden = _trained(), torch.zeros(4, 8)
    week = 7 * 24 * 3600.0
    at = torch.tensor([1e9, 1e9 + week, 1e9, 1e9 + 3600], dtype=torch.float64)
    last = torch.tensor([1e9 - 60, 1e9 + week - 60, NAN, 1e9 + 3540], dtype=torch.float64)
    changed = request(hidden, at, last)
    assert torch.allclose(changed[0], changed[1], atol=1e-5)  # the same gap and time of week
    assert not torch.allclose(changed[0], changed[2], atol=1e-3)
    assert not torch.allclose(changed[0], changed[3], atol=1e-3)
