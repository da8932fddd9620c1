"""Tiny rows and a tiny log, the same for every test.

`events_frame` and `items_frame` turn short literal rows into the contract's `events` and `items`.
`tiny_log` writes a small but realistic landed log: forty users, thirty items in three genres, two
months of events, several actions, ties in time, context, texts, edges, dated tags, items that are
launched late (cold) and three malformed lines. `tiny_source`, `tiny_job` and `tiny_config` are the
configurations that go with it. Everything is a pure function of the seed.

    log = tiny_log(tmp_path / "landing")            # log.folder, log.events, log.items, log.malformed
    job = tiny_job(log, lake, CUTOFFS[0])           # what a Spark job's main() is given
    config = tiny_config()                          # what a pipeline stage is given

Cutoffs of three consecutive cycles are `CUTOFFS`; the window W is ten days, so the first split is
2024-01-31. `planted=True` adds marked events and items after that first split: nothing that a cycle
cut at `CUTOFFS[0]` computes up to its split may change by it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations import tables
from spark_jobs.config import (
    EdgeMapping,
    EventMapping,
    FeaturesConfig,
    ItemMapping,
    Job,
    SequencesConfig,
    SourceConfig,
    TagMapping,
    VocabularyConfig,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline.config import Config

START = datetime(2024, 1, 1, tzinfo=UTC)
"""Time of the first day of the tiny log; literal rows count their seconds from it."""
WINDOW = timedelta(days=10)
CUTOFFS = tuple(datetime(2024, month, day, tzinfo=UTC) for month, day in ((2, 10), (2, 20), (3, 1)))
DAYS = 60
GENRES = ("horror", "comedy", "mystery")
ACTIONS = ("viewed", "played", "wishlist")
PLANTED = "planted-after-the-split"
"""The mark of planted events and items."""

MALFORMED = (
    '{"user": "u1", "item":',
    '{"item": "i01", "ts": 1704067200, "action": "played"}',
    '{"user": "u1", "item": "i01", "ts": -5, "action": "played"}',
)
"""Lines that must be refused: broken JSON, no user, an impossible time."""


@dataclass(frozen=True)
class TinyLog:
    """What `tiny_log` wrote: the folder and the lines as dictionaries, in file order."""

    folder: Path
    events: list[dict[str, Any]]
    items: list[dict[str, Any]]
    tags: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    malformed: int
    """Lines of the event files that must be refused."""


def tiny_source(name: str = "tiny") -> SourceConfig:
    """The mapping of the tiny log: played or wishlist is high-value, a longer play weighs more."""
    return SourceConfig(
        name=name,
        title="forty users, thirty titles, two months",
        events=EventMapping(
            files=("events-*.jsonl",),
            format="jsonl",
            user="user",
            item="item",
            time="ts",
            action="action",
            watch_seconds="watch",
            page="page",
            position="position",
            country="country",
        ),
        items=(
            ItemMapping(
                files=("items*.jsonl",),
                format="jsonl",
                item="item",
                title="title",
                description="description",
                launched_at="launched",
            ),
        ),
        tags=(TagMapping(files=("tags*.jsonl",), format="jsonl", item="item", tag="tag", tagged_at="at"),),
        edges=(
            EdgeMapping(
                files=("edges*.jsonl",), format="jsonl", item="item", relation="relation", entity="entity"
            ),
        ),
        actions=ACTIONS,
        high_value="action in ('played', 'wishlist')",
        reward="case when watch_seconds >= 600 then 2.0 else 1.0 end",
    )


def tiny_job(
    log: TinyLog,
    lake: str | Path,
    cutoff: datetime = CUTOFFS[0],
    *,
    versions: dict[str, int] | None = None,
    parent: datetime | None = None,
    encoder: str = "none",
) -> Job:
    """The job of one cycle over the tiny log; `parent` is the cutoff of the cycle it continues."""
    return Job(
        lake=str(lake),
        landing=str(log.folder),
        cycle=cutoff.strftime("%Y-%m-%d"),
        cutoff=cutoff,
        split=cutoff - WINDOW,
        window_seconds=int(WINDOW.total_seconds()),
        parent_cycle=parent.strftime("%Y-%m-%d") if parent else None,
        parent_split=parent - WINDOW if parent else None,
        versions=versions or {},
        source=tiny_source(),
        vocabulary=VocabularyConfig(min_events=3),
        features=FeaturesConfig(language_encoder=encoder, graph_width=16, annotation_width=16),
        sequences=SequencesConfig(max_length=16, context_length=8, max_targets=8, context_buckets=32),
    )


def tiny_config(**sections: Any) -> Config:
    """A whole configuration over the tiny log that trains in seconds; sections may be replaced."""
    from model.config import EvaluationConfig, ModelSection, ObjectiveConfig, TrainingConfig
    from pipeline.config import Config, FunnelConfig, ScheduleConfig

    job = tiny_job(TinyLog(Path("landing"), [], [], [], [], 0), "lake")
    parts: dict[str, Any] = {
        "preset": "tiny",
        "source": job.source,
        "vocabulary": job.vocabulary,
        "features": job.features,
        "sequences": job.sequences,
        "schedule": ScheduleConfig(
            window_days=WINDOW.days, demo_cutoffs=tuple(cutoff.date() for cutoff in CUTOFFS)
        ),
        "model": ModelSection(
            size="25k",
            item_width=16,
            semantic_output_width=32,
            modalities=("graph", "annotation"),
            item_signals=False,  # the tests of signals turn them on
            pair_signals=False,
            request_time=False,
        ),
        "objective": ObjectiveConfig(label_window=3, half_life_hours=48.0),
        "training": TrainingConfig(
            batch_tokens=512, epochs=2, finetune_epochs=1, checkpoint_every_steps=2, threads=1
        ),
        "evaluation": EvaluationConfig(weak_id_events=8, bootstrap_samples=100),
        "funnel": FunnelConfig(rungs=("25k",), strictness="lenient", min_users=5),
    }
    return Config(**{**parts, **sections})


def tiny_log(
    folder: Path, *, seed: int = 1, users: int = 40, items: int = 30, planted: bool = False
) -> TinyLog:
    """Writes the tiny log into `folder` (made if absent) and returns what was written.

    Events lie in one file a month (`events-2024-01.jsonl` …), the last with the malformed lines.
    A user has a favourite genre and walks through its items in order; a fifth of the last items are
    launched in the last twenty days. About 700 events, half of them high-value.
    """
    rng = random.Random(seed)
    catalogue = _tiny_items(items)
    events = _tiny_events(rng, users, catalogue)
    tags = [
        {"item": item["item"], "tag": f"mood-{number % 4}", "at": item["launched"] or START.isoformat()}
        for number, item in enumerate(catalogue)
    ]
    edges = [
        {"item": item["item"], "relation": relation, "entity": entity}
        for number, item in enumerate(catalogue)
        for relation, entity in (("genre", GENRES[number % 3]), ("author", f"author-{number % 7}"))
    ]
    if planted:
        _plant(catalogue, events, tags, edges)
    months: dict[str, list[str]] = {}
    for event in events:
        month = datetime.fromtimestamp(event["ts"], UTC).strftime("%Y-%m")
        months.setdefault(month, []).append(json.dumps(event))
    months[max(months)] += MALFORMED
    folder.mkdir(parents=True, exist_ok=True)
    for month, lines in months.items():
        (folder / f"events-{month}.jsonl").write_text("\n".join(lines) + "\n")
    for name, rows in (("items", catalogue), ("tags", tags), ("edges", edges)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TinyLog(folder, events, catalogue, tags, edges, len(MALFORMED))


def _tiny_items(count: int) -> list[dict[str, Any]]:
    """Items in genres by turns; the last fifth is launched late, every fifth has no launch date."""
    rows = []
    for number in range(count):
        launched = START + timedelta(days=_launch_day(number, count))
        genre = GENRES[number % 3]
        rows.append(
            {
                "item": f"i{number:02d}",
                "title": f"The {genre} of day {number}",
                "description": None if number % 7 == 0 else f"A {genre} story about the number {number}.",
                "launched": None if number % 5 == 0 else launched.isoformat(),
            }
        )
    return rows


def _launch_day(number: int, count: int) -> int:
    """Day of the log on which an item is launched; negative when it was there before."""
    late = count - count // 5
    return DAYS - 20 + 3 * (number - late) if number >= late else -30 * (number + 1)


def _tiny_events(rng: random.Random, users: int, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sessions of one to five events; every fourth event repeats the previous one's second (a tie)."""
    rows = []
    for user in range(users):
        favourite, place = user % 3, rng.randrange(len(items))
        for _ in range(rng.randint(3, 9)):
            moment = START + timedelta(days=rng.uniform(0, DAYS))
            for _ in range(rng.randint(1, 5)):
                place = (place + (3 if rng.random() < 0.8 else 1)) % len(items)
                choice = (place - place % 3 + favourite) % len(items) if rng.random() < 0.7 else place
                if _launch_day(choice, len(items)) > (moment - START).days:
                    choice = favourite
                action = ACTIONS[rng.choices(range(3), weights=(5, 4, 1))[0]]
                rows.append(
                    {
                        "user": f"u{user:02d}",
                        "item": items[choice]["item"],
                        "ts": int(moment.timestamp()),
                        "action": action,
                        "watch": rng.randrange(1200) if action == "played" else None,
                        "page": rng.choice(("home", "search", None)),
                        "position": rng.randrange(12),
                        "country": ("NL", "DE", "FR")[user % 3],
                    }
                )
                if rng.random() >= 0.25:
                    moment += timedelta(seconds=rng.randint(30, 5000))
    last = (START + timedelta(days=DAYS)).timestamp()
    return sorted((row for row in rows if row["ts"] < last), key=lambda row: row["ts"])


def _plant(items: list, events: list, tags: list, edges: list) -> None:
    """Adds a marked item, marked tags, edges and many marked events after the first split."""
    after = CUTOFFS[0] - WINDOW + timedelta(seconds=1)
    items.append({**items[0], "item": PLANTED, "title": PLANTED, "launched": after.isoformat()})
    edges.append({"item": PLANTED, "relation": "genre", "entity": GENRES[0]})
    edges.append({"item": PLANTED, "relation": "author", "entity": PLANTED})
    tags.extend({"item": item["item"], "tag": PLANTED, "at": after.isoformat()} for item in items)
    for user in range(0, 40, 2):
        for step, item in enumerate((PLANTED, "i00", "i01", PLANTED)):
            moment = after + timedelta(hours=step)
            events.append(
                {
                    "user": f"u{user:02d}",
                    "item": item,
                    "ts": int(moment.timestamp()),
                    "action": "played",
                    "watch": 1199,
                    "page": PLANTED,
                    "position": 0,
                    "country": PLANTED,
                }
            )


def event_row(
    user: str, item: str, seconds: float, action: str = "interaction", **values: Any
) -> dict[str, Any]:
    """One row of `events` as a dictionary, `seconds` after START; other columns by name."""
    event_at = START + timedelta(seconds=seconds)
    row: dict[str, Any] = dict.fromkeys(tables.EVENTS.column_names)
    row |= {
        "user_id": user,
        "item_id": item,
        "event_at": event_at,
        "action": action,
        "file_id": "f" * 64,
        "event_date": event_at.date(),
    }
    return row | values


def events_frame(spark: SparkSession, rows: Iterable[tuple]) -> DataFrame:
    """`events` from short rows `(user, item, seconds after START[, action[, values]])`.

    Line numbers and event ids follow the order given, so that ties keep it.
    """
    full = []
    for number, given in enumerate(rows, start=1):
        values = given[-1] if isinstance(given[-1], dict) else {}
        row = event_row(*(value for value in given if not isinstance(value, dict)), **values)
        row["line_number"] = row["line_number"] or number
        row["event_id"] = row["event_id"] or f"e{number:06d}"
        full.append(tuple(row[name] for name in tables.EVENTS.column_names))
    return spark.createDataFrame(full, tables.EVENTS.ddl)


def items_frame(spark: SparkSession, rows: Iterable[str | dict[str, Any]]) -> DataFrame:
    """`items` from names or partial rows; `item_index` follows the order given."""
    full = []
    for index, row in enumerate(rows):
        row = {"item_id": row} if isinstance(row, str) else row
        whole = {"title": None, "description": None, "launched_at": None, "tags": [], "edges": []}
        whole |= {"retired": None}
        whole |= {"item_index": index, **row}
        full.append(tuple(whole[name] for name in tables.ITEMS.column_names))
    return spark.createDataFrame(full, tables.ITEMS.ddl)


def lake_of(spark: SparkSession, log: TinyLog, lake: Path) -> tuple[str, dict[str, int]]:
    """Writes the tiny log's `events` and `items` as a correct ingestion would; the lake and their versions.

    For tests of the jobs that come after ingestion. The planted item has the last `item_index`, as it
    has in a lake that is fed in time order.
    """
    from spark_jobs.lake import delta

    events = [
        (
            event["user"],
            event["item"],
            event["ts"] - START.timestamp(),
            event["action"],
            {name: event[name] for name in ("page", "position", "country")}
            | {"watch_seconds": None if event["watch"] is None else float(event["watch"])},
        )
        for event in log.events
    ]
    items = [
        {
            "item_id": item["item"],
            "title": item["title"],
            "description": item["description"],
            "launched_at": item["launched"] and datetime.fromisoformat(item["launched"]),
            "tags": [
                (tag["tag"], datetime.fromisoformat(tag["at"]))
                for tag in log.tags
                if tag["item"] == item["item"]
            ],
            "edges": [
                (edge["relation"], edge["entity"]) for edge in log.edges if edge["item"] == item["item"]
            ],
        }
        for item in log.items
    ]
    frames = {tables.EVENTS: events_frame(spark, events), tables.ITEMS: items_frame(spark, items)}
    return str(lake), {
        table.name: delta.replace(spark, frame, table, str(lake), "tiny", "true")
        for table, frame in frames.items()
    }
