"""One refresh cycle of a source, end to end: scheduled, triggered by hand, or backfilled.

Tasks and arrows are made from the map in `pipeline.workflows.refresh_cycle`. `refresh_cycle` belongs to the source
named by `REPRISE_SOURCE`; every further source in `REPRISE_SOURCES` (separated by spaces) gets a
DAG of its own, with its own schedule. Past cycles are run in order, one at a time, by

    airflow backfill create --dag-id refresh_cycle --from-date 1998-01-29 --to-date 1998-04-23 \
        --max-active-runs 1 --reprocess-behavior failed

(`python -m pipeline.local.services airflow backfill create …` for the local Airflow of `make ui`).
"""

from __future__ import annotations

import os

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from pipeline import presets
from pipeline.orchestration import first_start, form, phase_groups, release_task, task_for, timetable
from pipeline.workflows.refresh_cycle import workflow


def refresh_cycle(dag_id: str, source: str) -> DAG:
    """The DAG of one source."""
    config = presets.load(source)
    with DAG(
        dag_id,
        description=f"Refresh cycle of {config.source.title or config.source.name}",
        doc_md=__doc__,
        schedule=timetable(config.schedule),
        start_date=first_start(config.schedule),
        # A past cycle is a backfill, which a person asks for: it must not start by itself.
        catchup=False,
        # A person looks at a source before its cycles begin to move the live model.
        is_paused_upon_creation=True,
        # A cycle continues the one before it. Backfills are not counted here: the lease of the
        # source, taken by `resolve`, makes a cycle wait for another.
        max_active_runs=1,
        params=form(source),
        tags=["reprise", config.source.name],
    ) as dag:
        # Never fails, so it never blocks a later cycle; because of it Airflow refuses to backfill
        # backwards, which would make a cycle the parent of an earlier one.
        in_order = EmptyOperator(task_id="in_order", depends_on_past=True)
        stages = workflow(config)
        groups = phase_groups(stages)
        tasks = {stage.name: task_for(stage, groups.get(stage.phase)) for stage in stages}
        in_order >> tasks[stages.resolve.name]
        for stage in stages.stages:
            [tasks[name] for name in stage.after] >> tasks[stage.name]
        # A teardown runs whatever happened, and its success does not turn a failed run green. That
        # `resolve` is its set-up means: clearing any task of the cycle takes the lease again.
        ends = [task for task in tasks.values() if not task.downstream_list]
        ends >> release_task().as_teardown(setups=tasks[stages.resolve.name])
    return dag


refresh_cycle("refresh_cycle", os.environ.get("REPRISE_SOURCE", "ml-100k"))
for further in os.environ.get("REPRISE_SOURCES", "").split():
    refresh_cycle(f"refresh_cycle_{presets.load(further).source.name}", further)
