"""Files are replaced whole."""

from __future__ import annotations

import pytest

from expectations.files import replacing, write_atomically


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "record.json"
    write_atomically(target, "old")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, "new")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "data"
    write_atomically(target, b"old")
    with pytest.raises(ValueError, match="half way"), replacing(target) as temporary:
        temporary.write_bytes(b"ne")
        raise ValueError("half way")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_text_and_bytes_are_written_with_the_permissions_asked_for(tmp_path):
    folder = tmp_path / "made on the way"
    write_atomically(folder / "secret", "é")
    write_atomically(folder / "page", b"\xff", mode=0o644)
    assert (folder / "secret").read_bytes() == "é".encode()
    assert [(folder / name).stat().st_mode & 0o777 for name in ("secret", "page")] == [0o600, 0o644]
