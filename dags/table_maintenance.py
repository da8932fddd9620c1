"""Keeps a source's tables and folders tidy, on a schedule of its own: `python -m pipeline maintain` as a task.

A source has the DAG where its configuration sets `maintenance.cron`: `table_maintenance` for the source that
`REPRISE_SOURCE` names, `table_maintenance_NAME` for those in `REPRISE_SOURCES`. The task waits while a stage of the
source runs, and a stage that comes due meanwhile waits for it.
"""

from __future__ import annotations

from airflow.sdk import DAG

from pipeline.orchestration import (
    RegisteredSource,
    maintenance_task,
    maintenance_timetable,
    registered_sources,
)


def table_maintenance(registered: RegisteredSource) -> DAG:
    """The DAG of one source."""
    config = registered.config
    with DAG(
        registered.dag_id.replace("refresh_cycle", "table_maintenance", 1),
        description=f"Table maintenance of {config.source.title or config.source.name}",
        doc_md=__doc__,
        schedule=maintenance_timetable(registered),
        # A day that was missed is made up for by the next one.
        catchup=False,
        # It deletes files: a person looks at `maintain --dry-run` before it begins to run by itself.
        is_paused_upon_creation=True,
        max_active_runs=1,
        tags=["reprise", config.source.name],
    ) as dag:
        maintenance_task(registered.source)
    return dag


for registered in registered_sources().usable:
    if registered.config.maintenance.cron:
        table_maintenance(registered)
