"""Registering twice makes one version, and what it was made from is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import mlflow
import pytest

from model.evaluation.figures import Measures
from model.evaluation.names import CANDIDATE
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import write_cycle
from pipeline.cycle.figures import EvaluateFigures, EvaluationWindowFigures, FunnelFigures, TrainFigures
from pipeline.cycle.records import StageResult, write_record
from pipeline.registry import tracking
from pipeline.settings import Settings
from pipeline.stages.register import register
from pipeline.training.fit import fit
from tests.pipeline.small_lake import after, at
from tests.pipeline.small_lake import write_cycle as write_tables

FUNNEL = FunnelFigures(verdicts=(), outcome="passed", agreement=())


@pytest.fixture(scope="module")
def accepted_candidate(tmp_path_factory) -> StageContext:
    """A cycle whose candidate is trained and accepted; nothing may be registered in its home."""
    context = at(write_tables(Settings.at(tmp_path_factory.mktemp("home"))), "train")
    trained = fit(context, CANDIDATE, context.config.model.size)
    window = EvaluationWindowFigures(240, 60, 12, 0, ())
    evaluated = EvaluateFigures(
        window, trained.checkpoint_digest, 1.0, 2.0, None, None, Measures(mrr={CANDIDATE: 0.5})
    )
    context = after(context, "train", StageResult(TrainFigures(trained.figures)))
    context = after(context, "evaluate", StageResult(evaluated))
    context = at(after(context, "funnel", StageResult(FUNNEL)), "register")
    write_cycle(context.settings, context.cycle, context.config, cold_start=False)
    folder = context.settings.cycle_folder(context.cycle.source, context.cycle.name)
    for record in context.finished.values():
        write_record(folder, record)
    return context


@pytest.fixture
def context(accepted_candidate, tmp_path) -> StageContext:
    """The same cycle in a home of the test's own."""
    settings = Settings.at(tmp_path / "home")
    shutil.copytree(accepted_candidate.settings.home, settings.home)
    return replace(accepted_candidate, settings=settings)


def tags(context: StageContext, version: int) -> dict[str, str]:
    store = tracking.client(context.settings)
    return store.get_model_version(tracking.model_name(context.cycle.source), str(version)).tags


def test_a_second_call_finds_the_version(context, monkeypatch):
    first = register(context)
    assert first.figures.version == 1 and first.figures.model == "reprise-tiny"
    monkeypatch.setattr(tracking, "log_model", None)  # nothing may be logged again
    assert register(context) == first
    assert len(tracking.accepted_versions(context.settings, "tiny")) == 1


def test_a_kill_between_logging_and_registering_leaves_one_version(context, monkeypatch):
    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "create_version", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            register(context)
    register(context)
    assert len(tracking.accepted_versions(context.settings, "tiny")) == 1


def test_a_version_carries_verdicts_measures_and_lineage(context):
    version = register(context).figures.version
    found = tags(context, version)
    assert json.loads(found["verdicts"]) == {"funnel": "passed"}
    assert json.loads(found["mrr"]) == {"candidate": 0.5}
    assert found["checkpoint_digest"] == context.figures("train", TrainFigures).training.checkpoint_digest
    assert set(json.loads(found["table_versions"])) >= {"items", "vocabulary", "sequences"}


def test_what_later_cycles_need_of_it_is_kept(context):
    register(context)
    (version,) = tracking.accepted_versions(context.settings, "tiny")
    assert "vocabulary" in accepted.records(context.settings, "tiny", version)
    assert accepted.configuration(context.settings, "tiny", version) == context.config


def test_a_backfill_gets_no_alias(context):
    backfill = replace(context, cycle=replace(context.cycle, run_type="backfill"))
    version = register(backfill).figures.version
    store, name = tracking.client(context.settings), tracking.model_name("tiny")
    assert store.get_model_version(name, str(version)).aliases == []


def test_the_version_loads_without_pickle_and_scores_plain_records(context, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    register(context)
    model = mlflow.pyfunc.load_model("models:/reprise-tiny@challenger")
    history = [{"item_id": "i03", "event_at": "2024-01-30T20:00:00"}]
    (answer,) = model.predict([{"history": history, "k": 3}])["items"]
    assert len(set(answer)) == 3 and all(item.startswith("i") for item in answer)
