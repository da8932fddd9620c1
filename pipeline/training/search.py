"""Finds how many passes a cycle's models make: the most at which the MRR on held-out labels is as good as it gets.

    passes = find_passes(context, ModelName.rung("25k"), log_metrics)    # the first rung, before it trains
    passes = found_passes(context)                                       # every later model

A model of the rung's size trains on the labels before the held-out ones, at a constant learning rate, and
held-out MRR is measured several times a pass. Its weights are thrown away: the models of the cycle train
on every label up to the split, with the passes found.
"""

from __future__ import annotations

from pathlib import Path

from expectations.instants import DAY_US, iso
from model.evaluation.names import ModelName
from model.training import checkpoint
from model.training.checkpoint import CheckpointError, Snapshot
from model.training.held_out import LARGEST_SHARE, held_out, held_out_interval, label_times
from model.training.lightning_module import LogMetrics
from pipeline.cycle.context import StageContext, find_figures
from pipeline.cycle.figures import PassesFigures, RungFigures
from pipeline.cycle.records import plain_figures, typed_figures
from pipeline.cycle.signals import network
from pipeline.training.session import Run, Session, configured_passes, inputs_digest, load_data
from pipeline.training.start import find_start
from pipeline.workflows.refresh_cycle import rung_stage

FOLDER = "search"
"""Folder of the search within that of its rung."""


def found_passes(context: StageContext) -> PassesFigures | None:
    """What the first rung found; None where no first rung has run, or an earlier revision's."""
    rung = find_figures(context.records, rung_stage(1), RungFigures)
    return None if rung is None or rung.training is None else rung.training.passes


def find_passes(
    context: StageContext, model_name: ModelName, log_metrics: LogMetrics | None = None
) -> PassesFigures:
    """The passes for this cycle, searched with a model of this name and size, or read back where they were.

    A search that was killed is resumed. Raises as `pipeline.training.fit.fit`.
    """
    training = context.config.training
    config = network(context, model_name.size)
    start = find_start(context, model_name, config)
    fine_tuned, most = start.folder is not None, configured_passes(context, start)
    if not training.validation_days:
        return PassesFigures(most, "training.validation_days is 0", fine_tuned, most)
    folder = context.settings.checkpoint_folder(context.cycle.source, context.cycle.name, model_name) / FOLDER
    digest = inputs_digest(context, config, start, {"search": True})
    stored = _stored(context, folder, digest)
    if stored is not None:
        return stored
    data = load_data(context, config, start)
    times = label_times(data.sequences, data.interval)
    possible = int(LARGEST_SHARE * times.size)
    if possible >= training.validation_min_labels:
        earlier, last = held_out_interval(times, data.interval, round(training.validation_days * DAY_US))
        examples = held_out(
            data.sequences, last, training.batch_tokens, data.row_length, training.seed, data.pair_signals
        )
        possible = examples.examples
    if possible < training.validation_min_labels:
        few = f"{possible} labels could be held out, and {training.validation_min_labels} are needed"
        context.say(f"makes the configured {most:g} passes: {few}")
        return PassesFigures(most, few, fine_tuned, most)
    run = Run(earlier, passes=most, most_passes=most, decays=False, held_out=examples)
    session = Session(context, config, start, digest, folder, data, run)
    log = None if log_metrics is None else _renamed(log_metrics)
    session.train(f"search with {examples.examples:,} held-out labels", log)
    progress = session.progress
    step, mrr = progress.latest_good
    per_pass = progress.steps_per_epoch
    figures = PassesFigures(
        passes=step / per_pass,
        why=f"held-out MRR {mrr:.4f} is the last within 2 % of the highest, {progress.best[1]:.4f}",
        fine_tuned=fine_tuned,
        most_passes=most,
        held_out_after=iso(last.after_us),
        held_out_until=iso(last.until_us),
        held_out_labels=examples.examples,
        held_out_mrr=tuple((step / per_pass, mrr) for step, mrr in progress.held_out_mrr),
        steps=progress.step,
        seconds=round(progress.seconds, 3),
    )
    state = session.snapshot(finished=True, progress=plain_figures(figures)).state
    checkpoint.save_finished(folder, Snapshot(state, weights={}, moments={}))
    context.say(f"{figures.passes:.3g} of at most {most:g} passes: {figures.why}")
    return figures


def _stored(context: StageContext, folder: Path, digest: str) -> PassesFigures | None:
    """What a finished search of the same inputs found."""
    try:
        state = checkpoint.finished_state(folder)
        if state is None or state.inputs_digest != digest:
            return None
        return typed_figures(PassesFigures.__name__, state.progress)
    except (CheckpointError, ValueError) as error:
        context.say(f"searches again: {error}")
        return None


def _renamed(log_metrics: LogMetrics) -> LogMetrics:
    """The same logger, under names that the run over every label does not use."""
    return lambda figures, step: log_metrics({f"search_{key}": value for key, value in figures.items()}, step)
