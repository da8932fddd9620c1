"""The README is true: its example runs, its table is the map, its commands exist."""

from __future__ import annotations

import csv
import json
import random
import re
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import presets
from pipeline.__main__ import main
from pipeline.settings import CHECKOUT
from pipeline.workflows.refresh_cycle import listing

README = (CHECKOUT / "README.md").read_text()
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def example(tmp_path):
    """The README's TOML file beside a small log that has the columns it maps."""
    rng = random.Random(5)
    folder = tmp_path / "my-log"
    folder.mkdir()
    titles = [f"t{number}" for number in range(20)]
    with (folder / "titles.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["title_id", "name", "synopsis", "launch_date", "genres", "director"])
        for number, title in enumerate(titles):
            writer.writerow(
                [title, f"Title {number}", "A story, told.", "2025-12-01", "drama|crime", f"d{number % 4}"]
            )
    lines = []
    for user in range(30):
        moment = START
        for _ in range(20):
            moment += timedelta(hours=rng.uniform(1, 120))
            lines.append(
                {
                    "user_id": f"u{user}",
                    "title_id": rng.choice(titles),
                    "ts": int(moment.timestamp()),
                    "action": rng.choice(["View", "play", "LIKE"]),
                    "watch_ms": rng.randrange(3_600_000),
                    "country": rng.choice(["NL", "FR"]),
                }
            )
    (folder / "events-2026.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = tmp_path / "my.toml"
    path.write_text(re.search(r"<!-- example:.*?```toml\n(.*?)```", README, re.DOTALL)[1])
    return path


def test_the_example_is_understood_and_a_whole_cycle_runs(example, home, monkeypatch, capsys, spark):
    monkeypatch.setenv("REPRISE_HOME", str(home.home))
    assert main(["check-source", str(example)]) == 0
    understood = capsys.readouterr().out
    assert "600" in understood and "play" in understood
    assert main(["cycle", "--source", str(example), "--preset", "quick", "--cutoff", "2026-03-01"]) in (0, 99)
    assert "2026-03-01" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert "my-log" in capsys.readouterr().out


def test_a_log_with_only_user_item_and_time_is_a_source(tmp_path):
    path = tmp_path / "least.toml"
    path.write_text(
        '[source]\nname = "least"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        'user = "u"\nitem = "i"\ntime = "t"\n'
    )
    config = presets.load(str(path))
    assert config.source.context_fields == () and config.source.high_value == "true"


def test_the_table_of_stages_is_the_map():
    table = re.search(r"<!-- stages:.*?-->\n\n(.*?)<!-- end of stages -->", README, re.DOTALL)[1]
    rows = [
        tuple(cell.strip() for cell in line.strip("| \n").split(" | ")) for line in table.splitlines()[2:]
    ]
    assert rows == [tuple(row) for row in listing()]


def test_every_command_that_the_readme_names_exists():
    commands = set(re.findall(r"python -m pipeline ([a-z_-]+)", README)) - {"--list"}
    assert {"check-source", "cycle", "status", "config", "promote"} <= commands
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0


def test_every_make_target_that_the_readme_names_exists():
    targets = set(re.findall(r"^    make ([a-z]+)", README, re.MULTILINE)) | set(
        re.findall(r"`make ([a-z]+)", README)
    )
    makefile = (CHECKOUT / "Makefile").read_text()
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
