"""Which ingested files leave or are read again, and why."""

from __future__ import annotations

import pytest

from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.outdated import (
    GONE,
    LOST,
    MAPPING,
    REPLACED,
    UNREADABLE,
    WITHDRAWN,
    admitted,
    outdated,
    renamed,
    split_digest,
)


def file(name, content):
    return LandedFile(f"/{name}", name, 10, content, None)


def row(name, digest="m.r", ingestion=5):
    return {"file_path": name, "mapping_digest": digest, "ingestion": ingestion}


LANDED = [file("same", "A"), file("grown", "B2"), file("copy", "C"), file("moved", "D")]


@pytest.mark.parametrize(
    ("ingested", "options", "why"),
    [
        ({"A": row("same")}, {}, {}),
        ({"A": row("same", "other.r")}, {}, {"A": MAPPING}),
        ({"A": row("same", "old")}, {}, {"A": MAPPING}),
        ({"A": row("same", "m.other")}, {}, {}),
        ({"A": row("same", "m.other")}, {"touched": {"A"}}, {"A": MAPPING}),
        ({"A": row("same")}, {"lost": {"A"}}, {"A": LOST}),
        ({"A": row("same", "")}, {}, {"A": UNREADABLE}),
        ({"B1": row("grown")}, {}, {"B1": REPLACED}),
        # Its bytes are landed under another name, which is not landed with other bytes.
        ({"C": row("grown"), "D": row("original")}, {}, {}),
        ({"Z": row("gone", ingestion=5)}, {"passed": 5}, {}),
        ({"Z": row("gone", ingestion=6)}, {"passed": 5}, {"Z": GONE}),
        ({"Z": row("gone", ingestion=0)}, {"passed": None}, {"Z": GONE}),
        ({"Z": row("gone", "other.r", ingestion=None)}, {"passed": 5}, {}),
        ({"A": row("same"), "Z": row("gone")}, {"passed": 9, "kept_out": {"same", "Z"}}, {"A": WITHDRAWN, "Z": WITHDRAWN}),
    ],
)  # fmt: skip
def test_a_file_stays_unless_something_is_said_against_it(ingested, options, why):
    options = {"kept_out": (), "passed": None} | options
    assert outdated(LANDED, ingested, "m.r", **options) == why


def test_withdrawn_files_are_known_by_name_and_by_content():
    assert [one.name for one in admitted(LANDED, {"same", "C"})] == ["grown", "moved"]


def test_a_file_that_is_landed_under_another_name_only_takes_that_name():
    assert renamed(LANDED, {"D": row("original"), "A": row("same"), "Z": row("gone")}) == {"D": "moved"}


def test_a_digest_has_two_halves_and_an_old_one_has_one():
    assert split_digest("m.r") == ("m", "r") and split_digest("old") == ("old", "")
