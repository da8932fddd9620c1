from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from pipeline.settings import CHECKOUT

FOLDER = CHECKOUT / "dags"
MAPPING = """
[source]
name = "{name}"
[source.events]
files = ["*.csv"]
format = "csv"
user = "user"
item = "item"
time = "time"
"""


def read(monkeypatch: pytest.MonkeyPatch, source: str, *further: str | Path) -> DagBag:
    monkeypatch.setenv("REPRISE_SOURCE", source)
    monkeypatch.setenv("REPRISE_SOURCES", " ".join(map(str, further)))
    return DagBag(dag_folder=FOLDER)


def error_of(bag: DagBag) -> list[str]:
    """The lines of the import error, which only this file may have."""
    ((file, trace),) = bag.import_errors.items()
    assert Path(file).name == "broken_sources.py"
    return trace.rpartition("BrokenSourceError: ")[2].splitlines()


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_without_a_broken_source_there_is_no_error(monkeypatch: pytest.MonkeyPatch):
    bag = read(monkeypatch, "ml-100k", "ifdb")
    assert bag.import_errors == {}
    assert sorted(bag.dags) == ["refresh_cycle", "refresh_cycle_ifdb"]


def test_a_broken_source_is_an_import_error_and_the_others_keep_their_dags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    good = write(tmp_path, "good.toml", MAPPING.format(name="good"))
    broken = write(tmp_path, "broken.toml", "[source\n")
    bag = read(monkeypatch, "ml-100k", broken, good)
    assert sorted(bag.dags) == ["refresh_cycle", "refresh_cycle_good"]
    (line,) = error_of(bag)
    assert line.startswith(f"REPRISE_SOURCES: {broken} is not valid TOML: ")


def test_every_broken_source_has_its_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    unknown_key = write(tmp_path, "key.toml", MAPPING.format(name="key") + "[schedule]\nwindows = 2\n")
    no_table = write(tmp_path, "table.toml", "source = 3\n")
    both = write(
        tmp_path,
        "both.toml",
        MAPPING.format(name="both") + '[schedule]\ncron = "0 3 * * 1"\nend_date = 2026-01-01\n',
    )
    no_file = tmp_path / "absent.toml"
    lines = error_of(read(monkeypatch, "ml-100k", unknown_key, no_table, both, no_file))
    assert len(lines) == 4
    assert "schedule.windows is unknown" in lines[0]
    assert str(no_table) in lines[1]
    assert "cannot be combined" in lines[2]
    assert f"{no_file} does not exist" in lines[3]


def test_the_main_source_may_be_the_broken_one(monkeypatch: pytest.MonkeyPatch):
    bag = read(monkeypatch, "nowhere", "ifdb")
    assert sorted(bag.dags) == ["refresh_cycle_ifdb"]
    (line,) = error_of(bag)
    assert line.startswith("REPRISE_SOURCE: source 'nowhere' is unknown") and "ml-100k" in line


def test_two_sources_of_one_name_are_not_both_scheduled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    # Both would write the same tables.
    twin = write(tmp_path, "twin.toml", MAPPING.format(name="ml-100k"))
    bag = read(monkeypatch, "ml-100k", twin)
    assert sorted(bag.dags) == ["refresh_cycle"]
    (line,) = error_of(bag)
    assert f"{twin}: source.name is 'ml-100k', which ml-100k has too; choose another name" in line


def test_a_source_named_twice_has_one_dag(monkeypatch: pytest.MonkeyPatch):
    bag = read(monkeypatch, "ml-100k", "ml-100k", "ifdb", "ifdb")
    assert sorted(bag.dags) == ["refresh_cycle", "refresh_cycle_ifdb"]
    assert bag.import_errors == {}
