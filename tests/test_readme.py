"""The README is true: its example runs, its tables are the map's and the program's, its tree is the checkout's."""

from __future__ import annotations

import csv
import json
import random
import re
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import presets
from pipeline.__main__ import main
from pipeline.command_line import EXIT_WORDS, GROUPS
from pipeline.settings import CHECKOUT
from pipeline.workflows.refresh_cycle import workflow

README = (CHECKOUT / "README.md").read_text()
START = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE_FOLDERS = ("pipeline", "spark_jobs", "model", "expectations")


def table(after: str) -> list[tuple[str, ...]]:
    """Rows of the first table after a text."""
    lines = README[README.index(after) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("| \n").split(" | ")))
    return rows


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


def test_the_examples_presets_are_those_there_are(example):
    line = example.read_text().splitlines()[0]
    assert set(re.findall(r'"(\w+)"', line)) == set(presets.PRESETS)
    assert presets.load(str(example)).preset == presets.DEFAULT


def test_a_log_with_only_user_item_and_time_is_a_source(tmp_path):
    path = tmp_path / "least.toml"
    path.write_text(
        '[source]\nname = "least"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        'user = "u"\nitem = "i"\ntime = "t"\n'
    )
    config = presets.load(str(path))
    assert config.source.context_fields == () and config.source.high_value == "true"


def test_the_table_of_stages_is_the_map():
    rows = [tuple(row) for row in workflow(presets.load("ml-100k")).listing()]
    current = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    assert table("<!-- stages:") == rows, (
        f"the table of stages is out of date; replace its rows by\n{current}"
    )


def test_the_table_of_commands_is_the_programs():
    commands = [command for group in GROUPS.values() for command in group]
    assert table("### Commands") == [(f"`{command.name}`", command.help) for command in commands]


def test_the_exit_codes_are_the_programs():
    assert table("| exit code |") == [(str(int(code)), words) for code, words in EXIT_WORDS.items()]


def test_every_command_that_the_readme_names_exists():
    commands = set(re.findall(r"python -m pipeline ([a-z_-]+)", README)) - {"--list"}
    assert {"check-source", "cycle", "status", "config"} <= commands
    commands |= {name.strip("`") for name, _ in table("### Commands")}
    assert "promote" in commands
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


def test_the_environment_variables_are_those_that_the_code_reads():
    named = set(re.findall(r"`(REPRISE_[A-Z_]+)`", "".join(row[0] for row in table("### Environment"))))
    modules = [
        path.read_text() for folder in (*SOURCE_FOLDERS, "dags") for path in (CHECKOUT / folder).rglob("*.py")
    ]
    assert named == {name for text in modules for name in re.findall(r"\bREPRISE_[A-Z_]*[A-Z]\b", text)}


def test_the_tree_names_every_room():
    tree = re.search(r"## The tree\n.*?\n\n((?:    .*\n)+)", README, re.DOTALL)[1]
    named: dict[str, set[str]] = {}
    top = ""
    for indent, room in re.findall(r"^    (  )?(\w+)/ ", tree, re.MULTILINE):
        if not indent:
            top, named[room] = room, set()
        else:
            named[top].add(room)
    packages = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")}
    assert set(named) == packages | {"docs", "docker"}
    for top in SOURCE_FOLDERS:
        assert named[top] == {path.parent.name for path in (CHECKOUT / top).glob("*/__init__.py")}, top


def test_the_first_figures_are_those_of_the_full_table_and_name_the_best_of_a_row():
    full = {row[0]: row[2:5] for row in table("No serving delay, difference")}
    short = table("## How good it is")
    assert {row[0] for row in short} == set(full)
    for row in short:
        assert tuple(cell.strip("*") for cell in row[2:5]) == full[row[0]], row
        bold = [float(cell.strip("*")) for cell in row if "**" in cell]
        numbers = [float(match) for cell in row[2:] for match in re.findall(r"0\.\d+", cell)]
        assert not bold or bold == [max(numbers)], row


def test_the_screen_shows_paths_of_the_default_home():
    reports = re.findall(r"^  report of \S+ +(\S+)$", README, re.MULTILINE)
    assert reports and all(path.startswith(".reprise/reports/") for path in reports)
