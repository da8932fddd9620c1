from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagbag import DBDagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy.orm import Session

from pipeline import presets
from pipeline.local.service_settings import POOLS
from pipeline.orchestration import arguments
from pipeline.settings import CHECKOUT
from pipeline.sources import SOURCES
from pipeline.workflows.refresh_cycle import refresh_cycle
from tests.airflow_records import parse as parse_into
from tests.airflow_records import start_run

STAGES = refresh_cycle(presets.load("ml-100k").funnel.rungs)
FILE = CHECKOUT / "dags" / "refresh_cycle.py"


def parse(monkeypatch: pytest.MonkeyPatch, **environment: str) -> DagBag:
    """The DAGs and import errors of the whole folder."""
    for name in ("REPRISE_SOURCE", "REPRISE_SOURCES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return DagBag(dag_folder=FILE.parent)


@pytest.fixture(scope="module")
def dag() -> DAG:
    with pytest.MonkeyPatch.context() as patch:
        bag = parse(patch)
    assert bag.import_errors == {}
    return bag.dags["refresh_cycle"]


def test_every_stage_of_the_map_has_one_task(dag: DAG):
    assert sorted(dag.task_ids) == sorted(["in_order", "release", *(stage.name for stage in STAGES)])


def test_tasks_follow_each_other_as_in_the_map(dag: DAG):
    for stage in STAGES.stages:
        assert dag.get_task(stage.name).upstream_task_ids == set(stage.after), stage.name
    assert dag.get_task(STAGES.resolve.name).upstream_task_ids == {"in_order"}


def test_spark_stages_go_through_the_connection_and_the_others_are_processes(dag: DAG):
    kinds = {stage.name: type(dag.get_task(stage.name)).__name__ for stage in STAGES}
    assert {name for name, kind in kinds.items() if kind == "SparkStageOperator"} == {
        stage.name for stage in STAGES if stage.engine == "spark"
    }
    assert set(kinds.values()) == {"SparkStageOperator", "StageOperator"}
    assert dag.get_task("sequences")._conn_id == "spark_reprise"


def test_phases_are_task_groups_and_do_not_prefix_task_ids(dag: DAG):
    groups = {name: {task.task_id for task in group} for name, group in dag.task_group_dict.items() if name}
    phases = {stage.phase for stage in STAGES if stage.phase}
    assert groups == {phase: {stage.name for stage in STAGES if stage.phase == phase} for phase in phases}


def test_each_engine_has_its_pool(dag: DAG):
    pools = {"spark": "spark", "torch": "gpu", "python": "default_pool"}
    assert {stage.name: dag.get_task(stage.name).pool for stage in STAGES} == {
        stage.name: pools[stage.engine] for stage in STAGES
    }
    assert {name: pool["slots"] for name, pool in POOLS.items()} == {"spark": 2, "gpu": 1}


def test_retries_are_the_maps_and_bad_data_has_none(dag: DAG):
    assert {stage.name: dag.get_task(stage.name).retries for stage in STAGES} == {
        stage.name: stage.retries for stage in STAGES
    }
    assert dag.get_task("validate_events").retries == dag.get_task("validate_sequences").retries == 0
    assert dag.get_task("resolve").retries == 1
    assert dag.get_task("resolve").retry_delay == timedelta(seconds=10)


def test_after_a_refusal_only_the_stages_that_always_run_still_run(dag: DAG):
    rules = {stage.name: dag.get_task(stage.name).trigger_rule.value for stage in STAGES}
    assert {name for name, rule in rules.items() if rule == "none_failed"} == {
        stage.name for stage in STAGES if stage.always
    }
    assert set(rules.values()) == {"none_failed", "all_success"}


def test_the_lease_is_released_by_a_teardown_that_cannot_turn_a_failed_run_green(dag: DAG):
    release = dag.get_task("release")
    assert release.is_teardown and dag.get_task("resolve").is_setup
    assert not release.on_failure_fail_dagrun
    assert release.upstream_task_ids == {"report", "resolve", "in_order"}


def test_clearing_a_task_runs_resolve_again_which_takes_the_lease(dag: DAG):
    cleared = dag.partial_subset("train", include_downstream=True, include_upstream=False)
    assert {"in_order", "resolve", "train", "report", "release"} <= set(cleared.task_ids)
    assert "events" not in cleared.task_ids


def test_release_runs_after_a_failed_resolve_and_the_run_stays_failed(dag: DAG, airflow_session: Session):
    run = start_run(dag, airflow_session)
    states = {"in_order": TaskInstanceState.SUCCESS, "resolve": TaskInstanceState.FAILED, "release": None}
    for instance in run.get_task_instances(session=airflow_session):
        instance.state = states.get(instance.task_id, TaskInstanceState.UPSTREAM_FAILED)
    airflow_session.flush()
    decision = run.task_instance_scheduling_decisions(session=airflow_session)
    assert [instance.task_id for instance in decision.schedulable_tis] == ["release"]
    decision.schedulable_tis[0].state = TaskInstanceState.SUCCESS
    airflow_session.flush()
    run.update_state(session=airflow_session)
    assert run.state == "failed"


def test_cycles_run_one_at_a_time_in_order_and_past_ones_only_on_request(dag: DAG):
    assert dag.max_active_runs == 1
    assert not dag.catchup
    assert dag.is_paused_upon_creation
    # A task that depends on the past makes Airflow refuse a backfill that runs backwards. It does nothing, so
    # it never fails and never holds up a later cycle.
    assert [task.task_id for task in dag.tasks if task.depends_on_past] == ["in_order"]
    assert type(dag.get_task("in_order")).__name__ == "EmptyOperator"


def test_every_failure_is_logged_by_the_task_itself(dag: DAG):
    assert all(dag.get_task(stage.name).on_failure_callback for stage in STAGES)


def test_every_task_has_the_title_of_its_stage_in_its_documentation(dag: DAG):
    assert all(stage.title in dag.get_task(stage.name).doc_md for stage in STAGES)


@pytest.mark.parametrize(
    "values",
    [
        {"cutoff": "1998-03-26"},
        {"cutoff": None, "cold_start": True},
        {"preset": None},
        {"source": "ml-100k", "preset": "quick"},
    ],
)
def test_the_form_accepts(dag: DAG, values: dict):
    fresh = dag.params.__class__({name: dag.params.get_param(name) for name in dag.params})
    fresh.update(values)
    assert {name: fresh.validate()[name] for name in values} == values


@pytest.mark.parametrize(
    "values",
    [
        {"cutoff": "26 March"},
        {"source": "../etc/passwd"},
        {"source": "ifdb"},
        {"source": "/tmp/mapping.toml"},
        {"preset": "largest"},
        {"cold_start": "perhaps"},
    ],
)
def test_the_form_refuses(dag: DAG, values: dict):
    fresh = dag.params.__class__({name: dag.params.get_param(name) for name in dag.params})
    with pytest.raises((ParamValidationError, ValueError)):
        fresh.update(values)
        fresh.validate()


def test_a_backfill_has_the_cutoffs_of_the_schedule(dag: DAG):
    # ML-100K: every 28 days from 1997-12-04 to 1998-04-23, so the two demo cutoffs are the last two.
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    infos = serialized.iter_dagrun_infos_between(
        datetime(1998, 3, 1, tzinfo=UTC), datetime(1998, 12, 31, tzinfo=UTC)
    )
    assert [info.data_interval.end.date().isoformat() for info in infos] == ["1998-03-26", "1998-04-23"]


def test_unpausing_a_source_whose_log_has_ended_starts_nothing(dag: DAG):
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert serialized.next_dagrun_info(last_automated_run_info=None) is None
    # An end date of the DAG would also keep a manual run, whose logical date is now, from starting.
    assert dag.end_date is None


@pytest.mark.parametrize(
    "conf", [{"source": "ifdb"}, {"source": "/tmp/mapping.toml", "cutoff": "2026-03-01"}]
)
def test_a_trigger_through_the_api_cannot_choose_the_source(dag: DAG, airflow_session: Session, conf: dict):
    # The REST API, `airflow dags trigger` and a backfill pass `conf` to this function.
    parse_into(dag, airflow_session)
    stored = DBDagBag().get_latest_version_of_dag(dag.dag_id, session=airflow_session)
    with pytest.raises(ParamValidationError, match="'ml-100k' was expected"):
        stored.create_dagrun(
            run_id="manual__test", run_after=datetime(2026, 3, 1, tzinfo=UTC), conf=conf, run_type="manual",
            triggered_by=DagRunTriggeredByType.REST_API, state="queued", session=airflow_session,
        )  # fmt: skip


def test_every_task_runs_the_dags_own_source_whatever_the_form_says(dag: DAG):
    run = SimpleNamespace(run_type="manual", data_interval_start=None, data_interval_end=None)
    params = {"cutoff": "2026-03-01", "preset": None, "cold_start": False, "source": "/tmp/mapping.toml"}
    for task in dag.tasks:
        if task.task_id != "in_order":
            words = arguments(task.command, task.source, {"params": params, "dag_run": run})
            assert words[:3] == [task.command, "--source", "ml-100k"]


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_every_packaged_source_has_a_dag(source: str, monkeypatch: pytest.MonkeyPatch):
    bag = parse(monkeypatch, REPRISE_SOURCE=source)
    assert bag.import_errors == {}
    assert bag.dags["refresh_cycle"].params["source"] == source


def test_every_further_source_has_its_dag(monkeypatch: pytest.MonkeyPatch):
    bag = parse(monkeypatch, REPRISE_SOURCES="ifdb kuairand")
    assert sorted(bag.dags) == ["refresh_cycle", "refresh_cycle_ifdb", "refresh_cycle_kuairand"]
    assert bag.dags["refresh_cycle_ifdb"].get_task("events").source == "ifdb"


def test_parsing_takes_less_than_a_second_and_loads_no_engine():
    # In another process, so that this one's imports do not count. Airflow itself is imported before, as in the
    # DAG processor. The fastest of three counts, because other work may share the cores.
    script = (
        "import json, sys, time\n"
        "import airflow.sdk, airflow.providers.standard.operators.empty\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "begun = time.perf_counter()\n"
        f"bag = DagBag(dag_folder={str(FILE)!r})\n"
        "heavy = [n for n in ('torch', 'pyspark', 'mlflow', 'great_expectations', 'pandas') if n in sys.modules]\n"
        "print(json.dumps([time.perf_counter() - begun, sorted(bag.dags), heavy]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    answers = []
    for _ in range(3):
        output = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        ).stdout
        answers.append(json.loads(output.splitlines()[-1]))
        if answers[-1][0] < 1.0:
            break
    assert min(seconds for seconds, _, _ in answers) < 1.0
    assert answers[-1][1:] == [["refresh_cycle"], []]
