"""When the cycles of a schedule without cron are due: every interval from a first cutoff on.

Airflow stores a timetable with its DAG, and the scheduler, the API server and the DAG processor each
rebuild it, so it must be registered as a plugin (`dags/plugins/reprise_plugin.py`) and importable without
operators and providers: that is why it is not in `pipeline.orchestration`.

None of Airflow's own timetables will do. `EventsTimetable` needs a list, which ends, and without catchup
drops a time that passed before the DAG file was read again; the `Delta…` timetables count from now or from
the epoch instead of from a first cutoff.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

if TYPE_CHECKING:
    from airflow.models.dag import DagModel
    from pendulum import DateTime


class CutoffTimetable(Timetable):
    """A cycle is due at `first` and every `interval` after it, none after `last` (None: without end).

    A run's data interval ends at its cutoff and begins one interval earlier, even where that lies before
    `first`. Without catchup the latest cutoff that has passed is run if it was missed, and no earlier one:
    it stays due until the next cutoff would be. So nothing starts by itself for a log that ended at `last`
    more than an interval ago.
    """

    def __init__(self, first: datetime, interval: timedelta, last: datetime | None = None) -> None:
        """Instants are aware. Raises ValueError for an interval that is not positive."""
        if interval <= timedelta(0):
            raise ValueError(f"the interval between cycles is {interval}; it must be positive")
        self.first, self.interval, self.last = first, interval, last
        days, end = interval / timedelta(days=1), f" to {last:%Y-%m-%d}" if last else ""
        every = "every day" if days == 1 else f"every {days:g} days"
        self.description = f"{every} from {first:%Y-%m-%d}{end}"

    @property
    def summary(self) -> str:
        """The schedule in words, which Airflow's pages show beside the DAG."""
        return self.description

    def serialize(self) -> dict[str, Any]:
        """What Airflow stores; seconds as a float are exact to the microsecond."""
        return {
            "first": self.first.isoformat(),
            "interval_seconds": self.interval.total_seconds(),
            "last": self.last.isoformat() if self.last else None,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> CutoffTimetable:
        """The timetable that `serialize` described."""
        last = datetime.fromisoformat(data["last"]) if data["last"] else None
        interval = timedelta(seconds=data["interval_seconds"])
        return cls(datetime.fromisoformat(data["first"]), interval, last)

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """The moment of the trigger: a manual run takes its cutoff from the form."""
        return DataInterval.exact(run_after)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run after the last scheduled or backfilled one; the restriction bounds its cutoff."""
        number = 0
        if restriction.earliest is not None:
            passed = self._passed(restriction.earliest)
            number = max(number, passed if self._cutoff(passed) == restriction.earliest else passed + 1)
        if not restriction.catchup:
            number = max(number, self._passed(_now()))
        if last_automated_data_interval is not None:
            start, end = last_automated_data_interval
            # Airflow identifies a run by the start of its data interval. Where the schedule changed, the
            # next cutoff's interval may start at or before the last run's: that run "already exists" and
            # the scheduler would wait for ever, so such cutoffs are passed over.
            number = max(number, self._passed(end) + 1, self._passed(start + self.interval) + 1)
        if any(end is not None and self._cutoff(number) > end for end in (self.last, restriction.latest)):
            return None
        return self._run(number)

    def next_run_info_from_dag_model(self, *, dag_model: DagModel) -> DagRunInfo | None:
        """The run that the scheduler creates: the one it stored when the DAG was last read, or a later one
        that became due since, while Airflow was stopped."""
        info = super().next_run_info_from_dag_model(dag_model=dag_model)
        if info is None:
            return None
        latest = self._passed(min(_now(), self.last) if self.last else _now())
        return self._run(latest) if self._cutoff(latest) > info.run_after else info

    def _passed(self, moment: datetime) -> int:
        """Number of the latest cutoff at or before a moment, counted from `first`, which is 0."""
        # Airflow's moments are pendulum's, whose difference is no plain timedelta.
        return (pendulum.instance(moment) - self.first).as_timedelta() // self.interval

    def _cutoff(self, number: int) -> datetime:
        return self.first + number * self.interval

    def _run(self, number: int) -> DagRunInfo:
        cutoff = pendulum.instance(self._cutoff(number))
        return DagRunInfo.interval(cutoff - self.interval, cutoff)


def _now() -> datetime:
    return datetime.now(UTC)
