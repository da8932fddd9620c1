"""Names of the models that a cycle compares: in `ranks`, and of their checkpoint folders."""

from __future__ import annotations

CANDIDATE = "candidate"
"""The cycle's full model."""
CHAMPION = "champion"
"""The model that was live when the cycle began, ranked beside the candidate."""
FROZEN = "popularity_frozen"
"""The yardstick that every model must beat."""
MOVING = "popularity_moving"
MARKOV = "markov"

IN_WORDS = {
    CANDIDATE: "candidate",
    CHAMPION: "champion",
    FROZEN: "frozen popularity",
    MOVING: "moving popularity",
    MARKOV: "Markov chain",
}
"""Names for people, in the order in which they are shown."""
IN_A_SENTENCE = {**IN_WORDS, CHAMPION: "the champion before it", MARKOV: "the Markov chain"}


def rung_name(size: str) -> str:
    """A small model of the funnel, by the size of its backbone (`25k` → `rung-25k`)."""
    return f"rung-{size}"
