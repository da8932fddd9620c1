"""Several processes in one home: each pair is in some order, or the second is refused in one line and changes nothing.

Two sources run their first cycles at once in a new home. Beside one of them the same cycle, a later one, an ingestion,
`maintain` and `withdraw` are started: all are told to wait. Then the next cycle, two corrections and `maintain` run while a
reader outside reads every table that passed, without a pause.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipeline.cycle import lease
from pipeline.errors import Exit
from tests.factories import CUTOFFS
from tests.proof.fork_server import ForkServer, Process
from tests.proof.tiny_home import TinyHome

FIRST, SECOND = (cutoff.date().isoformat() for cutoff in CUTOFFS[:2])
LIMIT_SECONDS = 1800
WITHDRAWN = ("events-2024-01.jsonl", "events-2024-02.jsonl")
TIDY = {"keep_cycles": 1, "vacuum_hours": 0, "small_files": 2}


class House:
    """One home with two sources, and another with the first source alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        together, apart = folder / "together", folder / "apart"
        for one in (together, apart):
            one.mkdir()
        self.tiny, self.other = TinyHome(together, maintenance=TIDY), TinyHome(together, "other")
        self.alone = TinyHome(apart, maintenance=TIDY)
        self.servers = [ForkServer(one.settings.home) for one in (self.tiny, self.alone)]

    def start(self, words: list[str], server: int = 0) -> tuple[Process, Path]:
        self.number += 1
        log = self.folder / f"{self.number}-{words[0]}.log"
        return self.servers[server].start(words, log), log

    def run(self, words: list[str], server: int = 0) -> tuple[int, str]:
        process, log = self.start(words, server)
        code = process.wait()
        process.end_group()
        return code, log.read_text()

    def state(self, server: int, home: TinyHome) -> dict:
        return self.servers[server].state(home.settings.home, self.folder)


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("several"))
    yield made
    for server in made.servers:
        server.close()


class Reader(threading.Thread):
    """Reads every table that passed, over and over, as a notebook would; keeps what goes wrong."""

    def __init__(self, lake: Path) -> None:
        super().__init__()
        self.lake, self.rounds, self.errors, self.ended = lake, 0, [], threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                told = json.loads((self.lake / "passed.json").read_text())["tables"]
                opened = {
                    name: DeltaTable(self.lake / name, version=one["version"]) for name, one in told.items()
                }
                for table in opened.values():
                    table.to_pyarrow_table()
                self.rounds += 1
            except Exception as error:  # noqa: BLE001  (whatever it is, the reader was let down)
                self.errors.append(error)
            time.sleep(0.05)


def test_whoever_comes_second_is_told_in_one_line_and_two_sources_do_not_meet(house):
    tiny, other = house.tiny, house.other
    both = [house.start(home.words("cycle", FIRST)) for home in (tiny, other)]
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (tiny.settings.cycle_folder("tiny", FIRST) / "stage-events.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running = f"cycle {FIRST} of tiny is running"
    withdraw = ["withdraw", WITHDRAWN[0], *tiny.words("")[1:]]
    for words in (
        tiny.words("cycle", FIRST),
        tiny.words("cycle", SECOND),
        tiny.words("resolve", SECOND),
        tiny.words("items", FIRST),
        tiny.words("maintain"),
        withdraw,
    ):
        code, text = house.run(words)
        assert code == Exit.TRY_LATER, text
        assert running in text.splitlines()[-1] and text.splitlines()[-1].startswith("later: "), text
        assert lease.holder(tiny.settings, "tiny") == FIRST
    for process, log in both:
        assert process.wait() == 0, log.read_text()[-3000:]
        process.end_group()
    code, text = house.run(house.alone.words("cycle", FIRST), server=1)
    assert code == 0, text
    assert house.state(0, tiny) == house.state(1, house.alone)


def test_readers_outside_are_never_let_down_by_a_cycle_or_by_maintenance(house):
    tiny = house.tiny
    reader = Reader(Path(tiny.settings.lake) / "tiny")
    reader.start()
    try:
        code, text = house.run(tiny.words("cycle", SECOND))
        assert code in (0, Exit.REFUSED), text
        # Both cycles stay; `maintain` deletes the versions between the first correction and the second.
        for file in WITHDRAWN:
            words = tiny.words("withdraw")
            code, text = house.run([words[0], file, *words[1:], "--reason", "the proof"])
            assert code == 0, text
        before = house.state(0, tiny)
        code, text = house.run(tiny.words("maintain"))
        assert code == 0 and "deleted" in text, text
    finally:
        reader.ended.set()
        reader.join()
    assert reader.rounds > 2 and not reader.errors
    assert house.state(0, tiny) == before
