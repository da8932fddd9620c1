"""A home with the tiny log, whose stages run as processes; put away and put back by hard links; what it holds as digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from expectations.tables import TABLES, location
from model.training.checkpoint import digest_of_weights
from pipeline.registry import tracking
from pipeline.settings import Settings
from spark_jobs.config import FeaturesConfig
from tests.end_to_end.conftest import configuration
from tests.factories import CUTOFFS, tiny_log
from tests.proof.test_scheduler import as_toml

ATTEMPTS = ("ingestion",)
"""Columns that count writes, of which a stage that is run again makes more."""
NEVER_WRITTEN_IN_PLACE = (".parquet", ".safetensors", ".crc")


class TinyHome:
    """The home, and the TOML file that maps its log."""

    def __init__(self, folder: Path, name: str = "tiny", **sections: dict[str, Any]) -> None:
        log = tiny_log(folder / f"landing-{name}")
        with (log.folder / "items.jsonl").open("a") as items:
            items.write('{"title": "a line without an item"}\n')
        config = configuration()
        features = config.features.model_copy(update={"language_encoder": FeaturesConfig().language_encoder})
        content = config.model_copy(update={"features": features}).model_dump(
            mode="json", exclude={"preset"}, exclude_none=True
        )
        content["source"] |= {"landing": str(log.folder), "name": name}
        content |= sections
        self.landing = log.folder
        self.mapping = folder / f"{name}.toml"
        self.mapping.write_text(as_toml(content) + "\n")
        self.settings = Settings.at(folder / "home")
        self.settings.home.mkdir(exist_ok=True)
        if not self.settings.jars.exists():
            self.settings.jars.symlink_to(Settings.from_environment().jars)

    def words(self, command: str, cutoff: str = "") -> list[str]:
        """The words of a command on this home's source."""
        return [command, "--source", str(self.mapping), *(("--cutoff", cutoff) if cutoff else ())]

    def put_away(self, folder: Path) -> None:
        """Keeps the home as it is now."""
        _copy(self.settings.home, folder)

    def put_back(self, folder: Path) -> None:
        """The home as it was when it was put away."""
        shutil.rmtree(self.settings.home)
        _copy(folder, self.settings.home)


def _copy(source: Path, target: Path) -> None:
    def link(one: str, other: str) -> None:
        (os.link if one.endswith(NEVER_WRITTEN_IN_PLACE) else shutil.copy2)(one, other)

    shutil.copytree(source, target, symlinks=True, copy_function=link)


def state(home: Settings, name: str = "tiny") -> dict[str, Any]:
    """Digests of the tables' rows and of weights; records, registered versions, champions and pages by name."""
    found: dict[str, Any] = {}
    for table in TABLES.values():
        address = location(home.lake, name, table.name)
        if Path(address).exists():
            rows = DeltaTable(address).to_pyarrow_table()
            rows = rows.drop_columns([column for column in ATTEMPTS if column in table.column_names])
            plain = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows.to_pylist())
            digest = hashlib.sha256("\n".join(plain).encode()).hexdigest()
            found[table.name] = f"{len(plain)} rows, {digest[:16]}"
    cycles = [cutoff.date().isoformat() for cutoff in CUTOFFS]
    for model in sorted(home.home.glob(f"checkpoints/{name}/*/*/model.safetensors")):
        found[f"weights of {'/'.join(model.parts[-3:-1])}"] = digest_of_weights(model.parent)
    for cycle in cycles:
        folder = home.cycle_folder(name, cycle)
        found[f"records of {cycle}"] = sorted(path.name for path in folder.glob("*.json"))
        pages = home.report_folder(name, cycle).glob("*.html")
        found[f"pages of {cycle}"] = sorted(path.name for path in pages)
    versions = sorted(
        [version.version, version.cycle, version.checkpoint_digest]
        for version in tracking.accepted_versions(home, name)
    )
    found["versions"] = versions
    found["champion"] = tracking.champion_version(home, name) if versions else None
    found["champions"] = tracking.champion_history(home, name) if versions else []
    found["accepted"] = sorted(path.name for path in home.home.glob(f"accepted/{name}/[!.]*"))
    passed = Path(home.lake) / name / "passed.json"
    told = json.loads(passed.read_text())["tables"] if passed.exists() else {}
    # Versions count writes too.
    found["passed"] = {table: [one["cycle"], one["suite"]] for table, one in told.items()}
    return found


def write_state(words: list[str]) -> None:
    """The state of a home as a JSON file. `words`: the home, the source, the file."""
    home, name, target = words
    Path(target).write_text(json.dumps(state(Settings.at(Path(home)), name), indent=1))
