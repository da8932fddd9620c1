"""What the rows of a cycle's `item_signals` hold, from the record of the stage that wrote them, and the network
that reads them.

    config = network(context, "25k")
"""

from __future__ import annotations

from expectations.wording import listing
from model.config import ModelConfig
from model.data.signals import SignalsShape
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext, find_figures
from pipeline.cycle.definition import AcceptedVersion
from spark_jobs.figures import ItemSignalsFigures


def signals_shape(context: StageContext) -> SignalsShape:
    """Half-lives and buckets of the cycle's `item_signals`. Raises KeyError when its stage has not run."""
    figures = context.figures("item_signals", ItemSignalsFigures)
    return SignalsShape(figures.half_lives_days, figures.bucket_us)


def network(context: StageContext, size: str | None = None) -> ModelConfig:
    """What a model of this cycle is built from, as `Config.network`, with as many half-lives as the cycle's
    `item_signals` has: where they are chosen, a short log gets fewer."""
    config = context.config
    if not config.model.item_signals:
        return config.network(size)
    return config.network(size, half_lives=len(signals_shape(context).half_lives_days))


def days(half_lives_days: tuple[float, ...]) -> str:
    """Half-lives for people: `1, 4.4 and 19 days`."""
    return f"{listing([f'{value:g}' for value in half_lives_days])} days"


def version_half_lives(context: StageContext, version: AcceptedVersion) -> tuple[float, ...] | None:
    """Half-lives of the item signals of the version's cycle, in days; None where it had no such stage."""
    records = accepted.records(context.settings, context.cycle.source, version)
    figures = find_figures(records, "item_signals", ItemSignalsFigures)
    return None if figures is None else figures.half_lives_days
