"""Registers Reprise's timetable, so that Airflow can store it and read it back.

Airflow loads this folder where `AIRFLOW__CORE__PLUGINS_FOLDER` names it, as `make ui`, `make demo` and
`docker/compose.yaml` do. Without it the DAG of a source whose schedule has no cron cannot be imported:
"Timetable class 'pipeline.timetable.CutoffTimetable' is not registered".
"""

from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin

from pipeline.timetable import CutoffTimetable


class ReprisePlugin(AirflowPlugin):
    """What Airflow is to know of Reprise beside its DAGs."""

    name = "reprise"
    timetables: ClassVar[list[type]] = [CutoffTimetable]
