"""Set-up of Spark's jars: refused in one line, done once."""

from __future__ import annotations

import pytest

from pipeline.settings import Settings
from pipeline.setup import jars as setup_jars


def java(folder, version: str):
    """A program that answers like Java of that version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return str(folder)


def test_another_java_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", java(tmp_path / "eleven", "11.0.2"))
    with pytest.raises(setup_jars.SetupError, match="is Java 11, .* Java 17; install Java 17"):
        setup_jars.check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(setup_jars.SetupError, match="Java was not found at .*; install Java 17"):
        setup_jars.check_java()
    monkeypatch.setenv("JAVA_HOME", java(tmp_path / "seventeen", "17.0.15"))
    setup_jars.check_java()


def test_the_jars_of_this_checkout_have_the_pinned_digests():
    assert setup_jars.missing_jars(Settings.from_environment().jars) == []


def test_a_jar_with_another_content_counts_as_missing(tmp_path):
    (tmp_path / "delta-storage-4.4.0.jar").write_bytes(b"not a jar")
    assert "delta-storage" in setup_jars.missing_jars(tmp_path)


def test_no_network_is_one_line_and_leaves_nothing(home, monkeypatch):
    home.jars.unlink()
    monkeypatch.setattr(setup_jars, "_ivy_command", lambda ivy: ["false"])
    with pytest.raises(setup_jars.SetupError, match="the first set-up needs the network"):
        setup_jars.prepare(home, lambda line: None)
    assert list(home.jars.iterdir()) == []


def test_a_full_disk_is_one_line(home, monkeypatch):
    home.jars.unlink()
    monkeypatch.setattr(setup_jars, "NEEDED_MEGABYTES", 10**9)
    with pytest.raises(setup_jars.SetupError, match="MB left; free 1000000000 MB"):
        setup_jars.prepare(home, lambda line: None)


def test_a_second_set_up_fetches_nothing(home, monkeypatch):
    monkeypatch.setattr(setup_jars, "fetch", lambda folder: pytest.fail("the network was used"))
    said: list[str] = []
    properties = setup_jars.prepare(home, said.append)
    assert said == []
    assert "spark.sql.session.timeZone UTC" in properties.read_text()
