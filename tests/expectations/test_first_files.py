"""Words on first files: large losses are told, small ones and few lines are not."""

from __future__ import annotations

import pytest

from expectations.figures import FileLines
from expectations.first_files import first_cautions


def landed(lines=400, lost=0, **values):
    return FileLines("d-1.jsonl", 100 * lines, lines, lines - lost, **{"nulls": {"country": 0}} | values)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([landed()], []),
        ([landed(lost=380, excluded=380)], ["events.where excludes 95.0 % of 400 lines"]),
        ([landed(lost=100, excluded=100)], []),
        ([landed(nulls={"country": 400})], ["100.0 % of the events have no country: compare what events.country"]),
        ([landed(nulls={"country": 400}), landed()], []),
        ([landed(nulls={})], []),
        ([landed(lost=200, duplicates=200)], ["50.0 % of 400 lines repeat an event of these files"]),
        ([landed(10, nulls={"country": 10})], []),
        ([landed(4, 4, excluded=4)], []),
        ([landed(nulls={"country": 400}, readable=False)], []),
    ],
)  # fmt: skip
def test_large_losses_are_told(files, told):
    words = [sentence.replace("\u00a0", " ") for sentence in first_cautions(files, ("country",))]
    assert len(words) == len(told) and all(
        sentence.startswith(start) for sentence, start in zip(words, told, strict=True)
    )
