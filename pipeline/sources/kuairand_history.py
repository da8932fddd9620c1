"""KuaiRand-Pure with what its users had watched before the log: their last 50 or fewer videos, in order, undated.

A history is context only. It becomes events an hour apart that end at the user's last known time, on a page of
their own, and none of them is high-value: they are never labels. The dates are invented, so intervals shorter than
the history (decayed counts, gaps) mean nothing before 2022-04-25. All else is `kuairand`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from expectations.files import replacing
from pipeline.settings import Settings
from pipeline.sources import kuairand
from pipeline.sources.definition import SourceDefinition, land_folder

HISTORY_TAB = -1
"""Page of the events that a history becomes."""
HISTORY = "history.parquet"
_LISTS = "user_history_before_0425.parquet"
_HOUR_MS = 3_600_000

_EVENTS = kuairand.CONFIG.events
CONFIG = kuairand.CONFIG.model_copy(
    update={
        "name": "kuairand-history",
        "title": f"{kuairand.CONFIG.title}, after undated histories",
        "events": _EVENTS.model_copy(update={"files": (*_EVENTS.files, HISTORY)}),
        "high_value": f"{kuairand.CONFIG.high_value} AND coalesce(page, '') <> '{HISTORY_TAB}'",
    }
)


def events_of(lists: pa.Table, schema: pa.Schema) -> pa.Table:
    """The events of some users' undated lists, in the columns of the log; a signal that a list does not tell is 0, and
    any other column null."""
    watched = lists["watch_seq"].combine_chunks()
    length = watched.value_lengths().to_numpy()
    owner = np.repeat(np.arange(len(length)), length)
    back = np.repeat(np.cumsum(length), length) - 1 - np.arange(len(owner))
    video, user = watched.flatten().to_numpy(), lists["user_id"].to_numpy()[owner]
    columns = {
        "user_id": user,
        "video_id": video,
        "time_ms": lists["last_time_ms"].to_numpy()[owner] - back * _HOUR_MS,
        "is_click": np.ones(len(owner), dtype=np.int64),
        "is_like": _listed(lists, "like_seq", owner, video),
        "long_view": _listed(lists, "long_watch_seq", owner, video),
        "tab": np.full(len(owner), HISTORY_TAB),
    }
    signals = {name for name in schema.names if name.startswith("is_")} - columns.keys()
    columns |= {name: np.zeros(len(owner), dtype=np.int64) for name in signals}
    arrays = [
        pa.array(columns[field.name]).cast(field.type)
        if field.name in columns
        else pa.nulls(len(owner), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema([field.with_nullable(True) for field in schema]))


def _listed(lists: pa.Table, column: str, owner: np.ndarray, video: np.ndarray) -> np.ndarray:
    """1 for each event whose video is in this list of its user, else 0."""
    values = lists[column].combine_chunks()
    length = values.value_lengths().to_numpy()
    of = np.repeat(np.arange(len(length)), length)
    items = values.flatten().to_numpy()
    stride = int(max(items.max(initial=0), video.max(initial=0))) + 1
    return np.isin(owner * stride + video, of * stride + items).astype(np.int64)


def land(settings: Settings, say: Callable[[str], None]) -> None:
    """Puts the data set's files and the events of its histories into the landing zone. Raises SourceError."""
    land_folder(settings, CONFIG.name, kuairand.FOLDER, (*kuairand.FILES, _LISTS))
    landing = settings.landing(CONFIG.name)
    if (landing / HISTORY).is_file():
        return
    say("writing the undated histories as events")
    events = events_of(pq.read_table(landing / _LISTS), pq.read_schema(landing / kuairand.FILES[0]))
    with replacing(landing / HISTORY) as temporary:
        pq.write_table(events, temporary)


SOURCE = SourceDefinition(CONFIG, kuairand.OVERLAY, land)
