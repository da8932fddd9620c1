"""One refresh cycle of a source, end to end: scheduled, triggered by hand, or backfilled.

The tasks and their order come from the map in `pipeline.workflows.refresh_cycle`. The DAG `refresh_cycle`
belongs to the source that `REPRISE_SOURCE` names; each source in `REPRISE_SOURCES` (separated by spaces)
has a DAG `refresh_cycle_NAME` with its own schedule. A source whose configuration is broken has no DAG
until it is repaired; `broken_sources.py` says what is wrong with it. Past cycles are run in order, one at a
time, by

    airflow backfill create --dag-id refresh_cycle --from-date 1998-01-29 --to-date 1998-04-23 \
        --max-active-runs 1 --reprocess-behavior failed

for the cutoffs from the first to the last date (`python -m pipeline.local airflow backfill create …`
for the local Airflow of `make ui`).
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from pipeline.orchestration import (
    RegisteredSource,
    first_start,
    form,
    phase_groups,
    registered_sources,
    release_task,
    task_for,
)
from pipeline.workflows.refresh_cycle import workflow


def refresh_cycle(registered: RegisteredSource) -> DAG:
    """The DAG of one source."""
    config, source = registered.config, registered.source
    with DAG(
        registered.dag_id,
        description=f"Refresh cycle of {config.source.title or config.source.name}",
        doc_md=__doc__,
        schedule=registered.timetable,
        start_date=first_start(config.schedule),
        # Past cycles are run by a backfill that a person creates, never by themselves.
        catchup=False,
        # A person looks at a source before its cycles begin to move the live model.
        is_paused_upon_creation=True,
        # A cycle continues the one before it. Backfill runs are not counted here: the lease of the
        # source, taken by `resolve`, makes a cycle wait for another.
        max_active_runs=1,
        params=form(source),
        tags=["reprise", config.source.name],
    ) as dag:
        # Does nothing and so never fails: a task that depends on the past makes Airflow refuse to backfill
        # backwards, which would make a cycle the parent of an earlier one.
        in_order = EmptyOperator(task_id="in_order", depends_on_past=True)
        stages = workflow(config)
        groups = phase_groups(stages)
        tasks = {stage.name: task_for(stage, source, groups.get(stage.phase)) for stage in stages}
        resolve = tasks[stages.resolve.name]
        in_order >> resolve
        for stage in stages.stages:
            [tasks[name] for name in stage.after] >> tasks[stage.name]
        # A teardown runs whatever happened, and its success does not turn a failed run green. It has two
        # set-ups: `resolve`, so that clearing any task of the cycle takes the lease again; `in_order`,
        # because a teardown runs where at least one set-up succeeded, and `resolve` may fail after it has
        # taken the lease.
        ends = [task for task in tasks.values() if not task.downstream_list]
        ends >> release_task(source).as_teardown(setups=[in_order, resolve])
    return dag


for registered in registered_sources().usable:
    refresh_cycle(registered)
