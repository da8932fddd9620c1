"""A source has the DAG `table_maintenance` where its configuration says when."""

from __future__ import annotations

from types import SimpleNamespace

from airflow.dag_processing.dagbag import DagBag

from pipeline.orchestration import arguments
from pipeline.settings import CHECKOUT

FOLDER = CHECKOUT / "dags"


def source(folder, name: str, cron: str | None):
    path = folder / f"{name}.toml"
    maintenance = f'[maintenance]\ncron = "{cron}"\n' if cron else ""
    path.write_text(
        f'[source]\nname = "{name}"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        f'user = "u"\nitem = "i"\ntime = "t"\n{maintenance}'
    )
    return path


def test_the_dag_follows_maintenance_cron_and_is_one_task(monkeypatch, tmp_path):
    monkeypatch.setenv("REPRISE_SOURCE", str(source(tmp_path, "first", "0 4 * * *")))
    others = [source(tmp_path, "second", None), source(tmp_path, "third", "0 5 * * 1")]
    monkeypatch.setenv("REPRISE_SOURCES", " ".join(map(str, others)))
    bag = DagBag(dag_folder=FOLDER)
    assert bag.import_errors == {}
    tidying = {name: dag for name, dag in bag.dags.items() if name.startswith("table_maintenance")}
    assert sorted(tidying) == ["table_maintenance", "table_maintenance_third"]
    dag = tidying["table_maintenance"]
    assert dag.is_paused_upon_creation and not dag.catchup and dag.max_active_runs == 1
    (task,) = dag.tasks
    assert (task.pool, task.retries) == ("spark", 1) and task.on_failure_callback
    context = {"params": dag.params, "dag_run": SimpleNamespace(run_type="scheduled")}
    assert arguments(task.command, task.source, context) == [
        "maintain", "--source", str(tmp_path / "first.toml"),
    ]  # fmt: skip


def test_a_cron_expression_that_is_never_due_costs_the_source_its_dags(monkeypatch, tmp_path):
    monkeypatch.setenv("REPRISE_SOURCE", str(source(tmp_path, "first", "61 * * * *")))
    monkeypatch.delenv("REPRISE_SOURCES", raising=False)
    bag = DagBag(dag_folder=FOLDER)
    assert bag.dags == {} and "maintenance" in "".join(bag.import_errors.values())
