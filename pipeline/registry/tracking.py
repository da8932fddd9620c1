"""Runs of cycles, their figures, registered versions and aliases in MLflow.

Only this module and `served_model.py` import mlflow. Each source has one experiment and one registered
model, `reprise-<source>`; each cycle one run, with a nested run per rung. MLflow's traps are handled here:
it has aliases, not stages; a missing alias and a missing model raise different codes; and registering
twice makes two versions.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models.signature import ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

from expectations.tables import EVENTS
from model.evaluation.names import CANDIDATE, ModelName
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion
from pipeline.cycle.signals import days, signals_shape
from pipeline.settings import Settings

logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow").setLevel(logging.ERROR)  # it warns of a missing pip

CHAMPION_ALIAS = "champion"
CHALLENGER_ALIAS = "challenger"
_CYCLE, _MODEL, _OUTCOME = "reprise.cycle", "reprise.model", "reprise.outcome"
_CONFIGURATION = "reprise.configuration"
_HISTORY = "reprise.champions"
"""Tag of a registered model: JSON list of the versions that were champion, oldest first."""
_ADDRESS = "MLFLOW_TRACKING_URI"
_SERVED_TYPE = {"string": DataType.string, "int": DataType.long, "double": DataType.double}
"""Type of a served context field, by that of its column in `events`."""


class RegistryError(RuntimeError):
    """A registry that cannot be used; the message says what to do."""


_made: set[str] = set()
"""Addresses of embedded stores whose tables this process has seen."""


def client(settings: Settings) -> MlflowClient:
    """A client of the configured store; makes the embedded one, its folder and its tables."""
    uri = settings.tracking_uri
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and (uri not in _made or not database.exists()):
        database.parent.mkdir(parents=True, exist_ok=True)
        # MLflow makes its tables one by one: of two processes that start in a new home one would fail.
        with (database.parent / ".making.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        _made.add(uri)
    inherited = os.environ.get(_ADDRESS)
    mlflow.set_tracking_uri(uri)
    # MLflow also exports the address to every later child process, which may serve another home.
    if inherited is None:
        os.environ.pop(_ADDRESS, None)
    else:
        os.environ[_ADDRESS] = inherited
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def check(settings: Settings, source: str) -> None:
    """Raises RegistryError, with the remedy, when a cycle of the source could not be recorded: the server
    does not answer, its database is of another version, or the source's experiment was deleted."""
    name = experiment_name(source)
    with _answers_at_once():
        try:
            experiment = client(settings).get_experiment_by_name(name)
        except MlflowException as error:
            raise RegistryError(_remedy(str(error), settings)) from None
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"the experiment {name} was deleted in MLflow; restore it: "
            f"MLFLOW_TRACKING_URI={settings.tracking_uri} mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}"
        )


def _remedy(message: str, settings: Settings) -> str:
    first = _without_password(message).strip().splitlines()[0][:300]
    if "database schema" in message:
        return (
            f"MLflow's database is of another version of MLflow ({first}); back it up, then run: "
            f"mlflow db upgrade {settings.tracking_uri}"
        )
    return (
        f"MLflow at {_without_password(settings.tracking_uri)} does not answer as it should ({first}); "
        "start it, or correct MLFLOW_TRACKING_URI, and run the same command again"
    )


def _without_password(text: str) -> str:
    """Text for a log: `https://user:secret@host` → `https://host`."""
    return re.sub(r"//[^/@\s]*@", "//", text)


@contextmanager
def _answers_at_once() -> Iterator[None]:
    """MLflow's client gives up after seconds; by default it retries an unreachable server for minutes."""
    brief = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in brief}
    os.environ.update(brief)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def experiment_name(source: str) -> str:
    """Name of the source's experiment."""
    return f"reprise/{source}"


def model_name(source: str) -> str:
    """Name of the source's registered model."""
    return f"reprise-{source}"


def experiment_id(settings: Settings, source: str) -> str:
    """The source's experiment, created if absent. The embedded store keeps artifacts under the home."""
    store, name = client(settings), experiment_name(source)
    found = store.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    embedded = settings.tracking_uri.startswith("sqlite:")
    location = (settings.artifacts / source).as_uri() if embedded else None
    return store.create_experiment(name, artifact_location=location)


def run_id(context: StageContext, model: ModelName = CANDIDATE) -> str:
    """The run of one model of this cycle, created if absent: the full model's is the cycle's run, a rung's is
    nested in it. A resumed stage continues in the same run."""
    settings, cycle = context.settings, context.cycle
    store, experiment = client(settings), experiment_id(settings, cycle.source)
    wanted = {_CYCLE: cycle.name, _MODEL: model, _CONFIGURATION: context.config.digest}
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
    found = store.search_runs([experiment], query, max_results=1)
    if found:
        return found[0].info.run_id
    tags = {**wanted, "reprise.source": cycle.source}
    if model == CANDIDATE:
        tags |= {_OUTCOME: "running", "mlflow.note.content": f"Refresh cycle {cycle.name} of {cycle.source}."}
        name = f"cycle {cycle.name}"
    else:
        tags["mlflow.parentRunId"] = run_id(context)
        name = f"cycle {cycle.name} {model}"
    run = store.create_run(experiment, tags=tags, run_name=name)
    _log_params(store, run.info.run_id, context, model)
    return run.info.run_id


def _log_params(store: MlflowClient, run: str, context: StageContext, model: ModelName) -> None:
    config, cycle = context.config, context.cycle
    params: dict[str, Any] = {
        "cutoff": cycle.cutoff.isoformat(),
        "split": cycle.split.isoformat(),
        "parent": f"version {cycle.parent.version}, cycle {cycle.parent.cycle}" if cycle.parent else "none",
        "configuration_digest": config.digest,
        "preset": config.preset,
    }
    sections = {"model": config.network(), "objective": config.objective, "training": config.training}
    for name, section in sections.items():
        params |= {f"{name}.{key}": value for key, value in section.model_dump(mode="json").items()}
    del params["model.half_lives"]  # the cycle's own number is known, and logged, when a model trains
    if model.size is not None:
        params["model.size"] = model.size
    entries = [Param(key, str(value)[:500]) for key, value in params.items()]
    store.log_batch(run, params=entries)


def live_metrics(context: StageContext, model: ModelName) -> Callable[[dict[str, float], int], None]:
    """A function that logs figures at a step while a model trains, as `training/…`. Figures are logged by step,
    so a resumed run draws one curve. The run's parameters get the half-lives of the cycle's item signals."""
    store, run = client(context.settings), run_id(context, model)
    if context.config.model.item_signals and "signals.half_lives" not in store.get_run(run).data.params:
        store.log_batch(
            run, params=[Param("signals.half_lives", days(signals_shape(context).half_lives_days))]
        )

    def log(figures: dict[str, float], step: int) -> None:
        _log_metrics(store, run, {f"training/{key}": value for key, value in figures.items()}, step)

    return log


def log_figures(context: StageContext, model: ModelName, figures: dict[str, float]) -> None:
    """Final figures of a model of this cycle."""
    _log_metrics(client(context.settings), run_id(context, model), figures, 0)


def _log_metrics(store: MlflowClient, run: str, figures: dict[str, float], step: int) -> None:
    now = _milliseconds()
    store.log_batch(run, metrics=[Metric(key, float(value), now, step) for key, value in figures.items()])


def close_run(
    context: StageContext, model: ModelName, outcome: str, reason: str, pages: list[Path] = ()
) -> str:
    """Ends a run with its outcome (`accepted`, `refused`), the reason in words, and pages as artifacts.

    Returns the run's id. A second call changes nothing.
    """
    store, run = client(context.settings), run_id(context, model)
    note = f"Refresh cycle {context.cycle.name} of {context.cycle.source}: {outcome}. {reason}"
    tags = [
        RunTag(_OUTCOME, outcome),
        RunTag("reprise.reason", reason[:4900]),
        RunTag("mlflow.note.content", note[:7900]),
    ]
    store.log_batch(run, tags=tags)
    for page in pages:
        store.log_artifact(run, str(page))
    store.set_terminated(run, "FINISHED")
    return run


def tag_lineage(context: StageContext, lineage: dict[str, Any]) -> None:
    """Writes the lineage on the cycle's run."""
    store, run = client(context.settings), run_id(context)
    tags = [RunTag(f"reprise.{key}", _text(value)) for key, value in lineage.items()]
    store.log_batch(run, tags=tags)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def log_model(
    context: StageContext, code: Path, packages: list[Path], weights: Path, requirements: list[str]
) -> str:
    """Logs a model-from-code with its serving folder under the cycle's run. Returns the model's URI."""
    client(context.settings)
    with mlflow.start_run(run_id=run_id(context)):
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code),
            artifacts={"weights": str(weights)},
            code_paths=[str(path) for path in packages],
            signature=_signature(context.config.source.context_fields, context.config.model.modalities),
            pip_requirements=requirements,
        )
    return info.model_uri


def _signature(context_fields: tuple[str, ...], modalities: tuple[str, ...] = ()) -> ModelSignature:
    """Inputs and outputs of a served version: histories as plain records, recommendations. A context field has
    the type of its column in `events`, so that it is encoded as in training. A new item has a list of numbers
    for each of the model's `modalities`."""
    text, number = DataType.string, DataType.double
    record = Object(
        [
            Property("item_id", text),
            Property("event_at", text),
            Property("reward", number, required=False),
            Property("action", text, required=False),
            *(Property(name, _SERVED_TYPE[EVENTS.type_of(name)], required=False) for name in context_fields),
        ]
    )
    new_item = Object(
        [
            Property("item_id", text),
            Property("title", text, required=False),
            Property("launched_at", text, required=False),
            *(Property(name, Array(number), required=False) for name in modalities),
        ]
    )
    inputs = [
        ColSpec(Array(record), "history"),
        ColSpec(DataType.long, "k", required=False),
        ColSpec(text, "as_of", required=False),
        ColSpec(DataType.boolean, "exclude_seen", required=False),
        ColSpec(Array(new_item), "new_items", required=False),
    ]
    outputs = [
        ColSpec(Array(text), "items"),
        ColSpec(Array(number), "scores"),
        ColSpec(Array(text), "titles"),
        ColSpec(Array(number), "user_vector"),
        ColSpec(DataType.long, "unknown_items"),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))


def find_version(context: StageContext, checkpoint_digest: str) -> int | None:
    """The version that this cycle registered with these weights; None when it registered none."""
    store = client(context.settings)
    for version in _versions(store, context.cycle.source):
        if (
            version.tags.get("cycle") == context.cycle.name
            and version.tags.get("checkpoint_digest") == checkpoint_digest
        ):
            return int(version.version)
    return None


def create_version(context: StageContext, model_uri: str, lineage: dict[str, Any], note: str) -> int:
    """Registers a logged model; its lineage becomes the version's tags. Returns the version."""
    store, name = client(context.settings), model_name(context.cycle.source)
    try:
        store.create_registered_model(name, description=f"Recommender of the source {context.cycle.source}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {key: _text(value) for key, value in lineage.items()}
    version = store.create_model_version(name, model_uri, run_id(context), tags=tags, description=note)
    return int(version.version)


def _versions(store: MlflowClient, source: str) -> list:
    return list(store.search_model_versions(f"name = '{model_name(source)}'"))


def accepted_versions(settings: Settings, source: str) -> list[AcceptedVersion]:
    """Every registered version of the source; only accepted models are registered."""
    return [
        AcceptedVersion(
            version=int(version.version),
            cycle=version.tags["cycle"],
            split=datetime.fromisoformat(version.tags["split"]),
            checkpoint_digest=version.tags["checkpoint_digest"],
        )
        for version in _versions(client(settings), source)
        if "checkpoint_digest" in version.tags
    ]


def registered_tables(settings: Settings, source: str) -> list[tuple[str, dict[str, int]]]:
    """The cycle of every registered version of the source, and the Delta versions that it was made from, by table."""
    return [
        (version.tags["cycle"], json.loads(version.tags["table_versions"]))
        for version in _versions(client(settings), source)
        if "table_versions" in version.tags
    ]


def champion_version(settings: Settings, source: str) -> int | None:
    """The live version; None when there is none."""
    try:
        return int(client(settings).get_model_version_by_alias(model_name(source), CHAMPION_ALIAS).version)
    except MlflowException as error:
        missing = {ErrorCode.Name(INVALID_PARAMETER_VALUE), ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)}
        if error.error_code in missing:
            return None
        raise


def set_alias(settings: Settings, source: str, alias: str, version: int) -> None:
    """Points an alias at a version."""
    client(settings).set_registered_model_alias(model_name(source), alias, str(version))


def champion_history(settings: Settings, source: str) -> list[int]:
    """The versions that were champion, oldest first, the live one last unless the alias was moved by hand."""
    model = client(settings).get_registered_model(model_name(source))
    return json.loads(model.tags.get(_HISTORY, "[]"))


def set_champion_history(settings: Settings, source: str, history: list[int]) -> None:
    """Stores the order of champions, which rollback walks back."""
    client(settings).set_registered_model_tag(model_name(source), _HISTORY, json.dumps(history))


def _milliseconds() -> int:
    return int(time.time() * 1000)
