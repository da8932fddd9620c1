"""Rows of `item_signals` and `successors` by plain loops, as the Spark jobs write them."""

from __future__ import annotations

from typing import Any

from expectations.instants import DAY_US, HOUR_US

HALF_LIVES = (0.5, 4.0)
"""Days; fewer than a long log gets."""
BUCKET_US = HOUR_US
REACH = 3

History = list[tuple[int, int, float]]
"""(item_index, event_at_us, reward) of one user, in stored order."""


def item_signal_rows(histories: dict[str, History], split_us: int, cycle: str) -> list[dict[str, Any]]:
    """A row per item and bucket with events."""
    by_item: dict[int, list[tuple[int, float]]] = {}
    for history in histories.values():
        for item, at, reward in history:
            by_item.setdefault(item, []).append((at, reward))
    rows = []
    for item, events in sorted(by_item.items()):
        for end in sorted({(at // BUCKET_US + 1) * BUCKET_US for at, _ in events}):
            before = [(end - at, reward) for at, reward in events if at < end]
            decayed = [sum(2 ** (-age / DAY_US / days) for age, _ in before) for days in HALF_LIVES]
            rows.append(
                {
                    "cycle": cycle,
                    "after_split": end > split_us,
                    "item_index": item,
                    "bucket_end_us": end,
                    "events": len(before),
                    "first_event_at_us": min(at for at, _ in events),
                    "decayed": decayed,
                    "decayed_high_value": sum(
                        2 ** (-age / DAY_US / HALF_LIVES[1]) for age, reward in before if reward > 0
                    ),
                }
            )
    return rows


def successor_rows(histories: dict[str, History], split_us: int, cycle: str) -> list[dict[str, Any]]:
    """A row per event that has an earlier one of its user."""
    return [
        {
            "cycle": cycle,
            "after_split": at > split_us,
            "user_id": user,
            "position": position,
            "item_index": item,
            "event_at_us": at,
            "previous_items": [item for item, _, _ in history[:position][::-1][:REACH]],
        }
        for user, history in histories.items()
        for position, (item, at, _) in enumerate(history)
        if position
    ]
