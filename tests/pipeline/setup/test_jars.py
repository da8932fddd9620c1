from __future__ import annotations

import pytest

from pipeline.settings import Settings
from pipeline.setup import jars


def java(folder, version: str):
    """A JAVA_HOME whose `java -version` prints this version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return str(folder)


def test_another_java_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", java(tmp_path / "eleven", "11.0.2"))
    with pytest.raises(jars.SetupError, match="is Java 11, .* Java 17; install Java 17"):
        jars.check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(jars.SetupError, match="Java was not found at .*; install Java 17"):
        jars.check_java()
    monkeypatch.setenv("JAVA_HOME", java(tmp_path / "seventeen", "17.0.15"))
    jars.check_java()


def test_the_jars_of_this_checkout_have_the_pinned_digests():
    assert jars.missing_jars(Settings.from_environment().jars) == []


def test_a_jar_with_other_content_counts_as_missing(tmp_path):
    (tmp_path / "delta-storage-4.4.0.jar").write_bytes(b"not a jar")
    assert "io.delta:delta-storage:4.4.0" in jars.missing_jars(tmp_path)


def test_no_network_is_one_line_and_leaves_nothing(home, monkeypatch):
    home.jars.unlink()
    monkeypatch.setattr(jars, "_ivy_command", lambda ivy, chosen: ["false"])
    with pytest.raises(jars.SetupError, match="the first set-up needs the network"):
        jars.prepare(home, lambda line: None)
    assert list(home.jars.iterdir()) == []


def test_a_full_disk_is_one_line(home, monkeypatch):
    home.jars.unlink()
    monkeypatch.setattr(jars, "NEEDED_MEGABYTES", 10**9)
    with pytest.raises(jars.SetupError, match="MB left; free 1000000000 MB"):
        jars.prepare(home, lambda line: None)


def test_a_second_set_up_fetches_nothing(home, monkeypatch):
    monkeypatch.setattr(jars, "fetch", lambda folder, name: pytest.fail("the network was used"))
    lines: list[str] = []
    jars.prepare(home, lines.append)
    assert lines == []
