"""A source's name stands for one log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline import presets
from pipeline.cycle import corrections, identity
from pipeline.cycle.corrections import Said
from pipeline.cycle.definition import Cycle, write_cycle
from pipeline.cycle.identity import IdentityError
from tests.factories import CUTOFFS, WINDOW, tiny_config


def config(folder, files='["a-*.csv"]', table=None):
    folder.mkdir(exist_ok=True)
    where = f'table = "{table}"' if table else f'files = {files}\nformat = "csv"'
    (folder / "my.toml").write_text(
        f'[source]\nname = "my-log"\n[source.events]\n{where}\nuser = "u"\nitem = "i"\ntime = "t"\n'
    )
    return presets.load(str(folder / "my.toml"))


def test_another_folder_or_other_files_of_the_same_name_are_refused(home, tmp_path):
    identity.claim(config(tmp_path / "one"), home)
    identity.claim(config(tmp_path / "one"), home)
    for other in (config(tmp_path / "two"), config(tmp_path / "one", '["b-*.csv"]')):
        with pytest.raises(IdentityError) as problem:
            identity.claim(other, home)
        assert f"{tmp_path}/one/a-*.csv" in str(problem.value) and "move-source --source" in str(
            problem.value
        )
    identity.claim(config(tmp_path / "one", '["b-*.csv", "a-*.csv"]'), home)
    identity.claim(config(tmp_path / "one", '["b-*.csv"]'), home)


def test_a_moved_folder_is_said_once_and_kept(home, tmp_path):
    identity.claim(config(tmp_path / "one"), home)
    moved = config(tmp_path / "two")
    before, now = identity.move(moved, home, Said("ann", "2026", "new disk"))
    assert (before, now) == ((f"{tmp_path}/one/a-*.csv",), (f"{tmp_path}/two/a-*.csv",))
    identity.claim(moved, home)
    assert identity.move(moved, home, Said("ann", "2026", "again")) == (now, now)
    (entry,) = corrections.read(home, "my-log").moves
    assert entry["said"]["reason"] == "new disk"


def test_a_home_of_an_earlier_release_knows_it_by_its_cycles(home, tmp_path):
    first = config(tmp_path / "one")
    write_cycle(home, Cycle("my-log", CUTOFFS[0], WINDOW, None), first, cold_start=False)
    identity.check(first, home)
    with pytest.raises(IdentityError):
        identity.check(config(tmp_path / "two"), home)


def test_a_home_may_move_with_its_landing_folder(home, tmp_path):
    packaged = tiny_config()
    identity.claim(packaged, home)
    assert corrections.read(home, "tiny").landed_at == ("REPRISE_HOME/landing/tiny/events-*.jsonl",)
    home.home.rename(tmp_path / "elsewhere")
    identity.check(packaged, replace(home, home=tmp_path / "elsewhere"))


def test_a_table_is_a_place_too(home, tmp_path):
    identity.claim(config(tmp_path / "one"), home)
    for table, where in (("./views", f"{tmp_path}/one/views"), ("lake.logs.views", "table lake.logs.views")):
        with pytest.raises(IdentityError, match="this configuration takes them from "):
            identity.claim(config(tmp_path / "one", table=table), home)
        assert identity.move(config(tmp_path / "one", table=table), home, Said("ann", "2026", "moved"))[
            1
        ] == (where,)
        identity.check(config(tmp_path / "one", table=table), home)
