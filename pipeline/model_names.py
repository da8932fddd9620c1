"""Names of a cycle's models: of their checkpoint folders, and in `ranks`."""

CANDIDATE = "candidate"
"""The cycle's full model."""
CHAMPION = "champion"
"""The model that was live when the cycle began, ranked beside the candidate."""


def rung_name(size: str) -> str:
    """A small model of the funnel, by the size of its backbone (`25k` → `rung-25k`)."""
    return f"rung-{size}"
