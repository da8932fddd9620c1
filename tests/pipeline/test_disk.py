"""A full disk, told in one line."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest

from pipeline import disk
from pipeline.disk import full_disk
from pipeline.settings import Settings

FULL = errno.ENOSPC, "No space left on device"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A home with 3 MB left, beside 7 MB for temporary files."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(disk.tempfile, "gettempdir", lambda: str(temporary))
    free = {temporary: 7 * 2**20}
    monkeypatch.setattr(
        disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=free.get(path, 3 * 2**20))
    )
    return Settings.at(home)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_it_says_which_disk_how_much_is_free_and_what_to_do(settings):
    assert full_disk(OSError(*FULL), settings) == (
        f"the disk that holds {settings.home} is full, 3 MB left; free some space there and run the command again"
    )


def test_the_disk_is_that_of_the_file_that_could_not_be_written(settings, tmp_path):
    # A copy that fails names what it read first.
    copied = OSError(*FULL, "/data/u.data", None, str(tmp_path / "temporary" / "absent" / "u.data"))
    assert f"{tmp_path / 'temporary'} is full, 7 MB left" in full_disk(copied, settings)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("An error occurred while calling o5.save: java.io.IOException: No space left on device"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
        caused(ValueError("the table was not written"), OSError(*FULL)),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_it_is_seen_through_the_errors_of_others(settings, error):
    assert f"{settings.home} is full" in full_disk(error, settings)


@pytest.mark.parametrize(
    "error", [OSError("broken"), OSError(errno.EACCES, "Permission denied", "x"), KeyError("x")]
)
def test_another_error_is_not_told_as_this_one(settings, error):
    assert full_disk(error, settings) is None
