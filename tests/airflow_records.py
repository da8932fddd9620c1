"""A DAG in Airflow's own tables, as its DAG processor and scheduler leave it there."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select
from sqlalchemy.orm import Session

BUNDLE = "tests"


def parse(dag: DAG, session: Session) -> DagModel:
    """Stores a DAG as the DAG processor does when it has read its file."""
    if session.get(DagBundleModel, BUNDLE) is None:
        session.add(DagBundleModel(name=BUNDLE))
        session.flush()
    dag.relative_fileloc = f"{dag.dag_id}.py"
    stored = LazyDeserializedDAG(data=DagSerialization.to_dict(dag))
    errors: dict[tuple[str, str], str] = {}
    update_dag_parsing_results_in_db(BUNDLE, None, [stored], errors, None, set(), session)
    assert errors == {}
    session.expire_all()
    return session.get_one(DagModel, dag.dag_id)


def create_due_run(model: DagModel, session: Session) -> None:
    """Creates the run that the stored DAG is due for, as the scheduler does."""
    runner = SchedulerJobRunner(job=Job())
    runner._create_dag_runs([model], session)
    session.flush()


def runs(dag_id: str, session: Session) -> list[DagRun]:
    """The runs of a DAG by the end of their data interval."""
    return list(session.scalars(select(DagRun).filter_by(dag_id=dag_id).order_by(DagRun.data_interval_end)))


def start_run(dag: DAG, session: Session) -> DagRun:
    """A running manual run of a DAG, whose task instances have no state yet."""
    parse(dag, session)
    stored = DBDagBag().get_latest_version_of_dag(dag.dag_id, session=session)
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    return stored.create_dagrun(
        run_id="manual__test",
        logical_date=moment,
        data_interval=(moment, moment),
        run_after=moment,
        run_type="manual",
        triggered_by=DagRunTriggeredByType.TEST,
        state="running",
        session=session,
    )
