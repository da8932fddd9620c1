"""What the rows of a cycle's `item_signals` hold, from the record of the stage that wrote them."""

from __future__ import annotations

from model.data.signals import SignalsShape
from pipeline.cycle.context import StageContext
from spark_jobs.figures import ItemSignalsFigures


def signals_shape(context: StageContext) -> SignalsShape:
    """Half-lives and buckets of the cycle's `item_signals`. Raises KeyError when its stage has not run."""
    figures = context.figures("item_signals", ItemSignalsFigures)
    return SignalsShape(figures.half_lives_days, figures.bucket_us)
