"""Trains a model of a cycle on every label up to its split: from its parent or from scratch, resumed where a
run was killed.

    fitted = fit(context, CANDIDATE, "200k", passes=found_passes(context))    # the full model
    fitted = fit(context, ModelName.rung("25k"), "25k")                       # the configured passes

Reads the cycle's `sequences`, `vocabulary`, `item_features`, `items` and signals, and the parent's checkpoint;
`evaluation_sequences` cannot be opened from here. Leaves a finished checkpoint with its figures. The
weights are a function of the configuration, the tables' versions, the split, the number of passes and the
parent's weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from model.evaluation.names import ModelName
from model.training import checkpoint
from model.training.checkpoint import CheckpointError
from model.training.lightning_module import LogMetrics
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import PassesFigures, TrainingFigures
from pipeline.cycle.records import plain_figures, typed_figures
from pipeline.cycle.signals import network
from pipeline.training.session import Run, Session, configured_passes, inputs_digest, load_data
from pipeline.training.start import Start, find_start

FINAL_LOSS_POINTS = 10
"""The final loss is the mean of this many last points of the loss curve."""


@dataclass(frozen=True)
class Fitted:
    """A finished model."""

    folder: Path
    """Holds `model.safetensors`, `optimizer.safetensors` and `state.json`."""
    checkpoint_digest: str
    """SHA-256 of `model.safetensors`."""
    figures: TrainingFigures


def fit(
    context: StageContext,
    model_name: ModelName,
    size: str,
    log_metrics: LogMetrics | None = None,
    parent_model: ModelName | None = None,
    passes: PassesFigures | None = None,
    share: float = 1.0,
    least_steps: int = 1,
    history: bool = True,
) -> Fitted:
    """A finished model of this cycle: the stored one, where it was trained on the same inputs, else one
    that is resumed or trained now.

    `size` is the backbone's. `log_metrics` receives figures during training. `parent_model` is the model
    of the parent's cycle to start from, by default the one of the same name. The model makes the `passes`
    found; None: those that are configured. Of their steps it takes a `share`, at least `least_steps`. Without
    `history` it is a learned mixture of the signals.

    Raises CycleError as `pipeline.training.start.find_start`, DatasetError when the tables cannot be trained
    on, NotFiniteError when the loss is not a finite number.
    """
    cycle, say = context.cycle, context.say
    folder = context.settings.checkpoint_folder(cycle.source, cycle.name, model_name)
    config = network(context, size).model_copy(update={"history": history})
    start = find_start(context, parent_model or model_name, config)
    most = configured_passes(context, start)
    passes = _fitting(context, model_name, passes, start, most)
    made = most if passes is None else min(most, passes.passes)
    what = {"passes": made, "most_passes": most, "share": share, "least_steps": least_steps}
    digest = inputs_digest(context, config, start, what)
    stored = _stored(context, folder, digest)
    if stored is not None:
        say(f"{model_name}: already trained on the same inputs")
        return replace(stored, figures=replace(stored.figures, passes=passes))
    data = load_data(context, config, start)
    run = Run(data.interval, made, most, share, least_steps)
    session = Session(context, config, start, digest, folder, data, run)
    session.train(model_name, log_metrics)
    figures = _figures(session, start, passes)
    weights = checkpoint.save_finished(
        folder, session.snapshot(finished=True, progress=plain_figures(figures))
    )
    return Fitted(folder, weights, replace(figures, checkpoint_digest=weights))


def _fitting(
    context: StageContext, model_name: ModelName, passes: PassesFigures | None, start: Start, most: float
) -> PassesFigures | None:
    """The passes found, where they were found with a model that started likewise; else None."""
    fine_tuned = start.folder is not None
    if passes is None or passes.fine_tuned == fine_tuned:
        return passes
    other = "from a parent" if passes.fine_tuned else "from scratch"
    context.say(f"{model_name}: makes the configured {most:g} passes: the search started {other}")
    return None


def _figures(session: Session, start: Start, passes: PassesFigures | None) -> TrainingFigures:
    progress, batches, plan = session.progress, session.batches, session.plan
    last = [loss for _, loss in progress.losses[-FINAL_LOSS_POINTS:]]
    return TrainingFigures(
        steps=progress.step,
        epochs=round(progress.step / progress.steps_per_epoch, 3),
        tokens=progress.tokens,
        seconds=round(progress.seconds, 3),
        tokens_per_second=round(progress.tokens_per_second, 1),
        final_loss=sum(last) / len(last),
        validation_mrr=(),
        validation_examples=0,
        training_curve=tuple((step, loss) for step, loss in progress.losses),
        sequences=len(batches.coverage.sequences),
        loss_positions=batches.coverage.positions,
        labels=batches.coverage.labels,
        negligible_label_fraction=batches.coverage.negligible_labels / batches.coverage.labels,
        packing_efficiency=round(batches.packing.efficiency, 4),
        eligible_items=len(plan.eligible),
        vocabulary=session.model.vocabulary_size,
        masking_rate=plan.masking_rate,
        backbone_parameters=session.backbone_parameters,
        parameters=sum(parameter.numel() for parameter in session.model.parameters()),
        start=start.name,
        parent_digest=start.digest,
        passes=passes,
    )


def _stored(context: StageContext, folder: Path, digest: str) -> Fitted | None:
    """The finished model in the folder, when it is sound and was trained on these inputs."""
    try:
        state = checkpoint.finished_state(folder)
    except CheckpointError as error:
        context.say(f"trains again: {error}")
        return None
    if state is None or state.inputs_digest != digest:
        return None
    weights = state.digests[checkpoint.WEIGHTS]
    try:
        figures = typed_figures(TrainingFigures.__name__, state.progress)
    except ValueError:
        context.say("trains again: the stored model was written by an earlier revision")
        return None
    return Fitted(folder, weights, replace(figures, checkpoint_digest=weights))
