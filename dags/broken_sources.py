"""Holds no DAG: it fails to import, on purpose, while a registered source's configuration is broken.

Airflow keeps one import error a file and takes every DAG of that file from the schedule. So
`refresh_cycle.py` makes the DAGs of the sources that can be used, and this file is the import error of the
others: shown at the top of Airflow's page and by `airflow dags list-import-errors`, one line a source. It
goes away once they are repaired. Until then the broken source has no DAG: a run of it in progress stops
after its current task and continues when the DAG is back.
"""

from __future__ import annotations

from pipeline.orchestration import BrokenSourceError, registered_sources

problems = registered_sources().problems
if problems:
    raise BrokenSourceError("\n".join(problems))
