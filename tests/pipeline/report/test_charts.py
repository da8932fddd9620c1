"""Figures are well-formed SVG in which a value stands where its number says."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from model.evaluation.figures import Estimate
from pipeline.report.charts import Series, bars, curve, dots, legend, lines


def elements(svg: str, tag: str) -> list:
    return ElementTree.fromstring(svg).findall(f".//{tag}")


def test_dots_stand_on_a_common_axis_from_zero():
    series = [
        Series("model", [Estimate(0.1, 0.05, 0.2), Estimate(0.05)]),
        Series("a & b", [None, Estimate(None)]),
    ]
    svg = dots(["all", "<task>"], series, "MRR")
    circles = [float(one.get("cx")) for one in elements(svg, "circle")]
    # The first circle is the legend's. The axis runs from 190 for 0 to 860 for the highest end, 0.2.
    assert circles[1:] == [pytest.approx(190 + 670 * 0.5, abs=0.1), pytest.approx(190 + 670 * 0.25, abs=0.1)]
    words = [one.text for one in elements(svg, "text")]
    assert "<task>" in words and "a & b" in words


def test_lines_have_a_point_a_place_where_there_is_one():
    svg = lines("task A", ["no", "48 h"], [Series("model", [Estimate(0.2, 0.1, 0.3), None])])
    (path,) = (one.get("points") for one in elements(svg, "polyline"))
    assert len(path.split()) == 1


def test_a_legend_names_every_series_with_its_mark():
    svg = legend(["one", "two"])
    assert [one.text for one in elements(svg, "text")] == ["one", "two"]
    assert len(elements(svg, "circle")) == len(elements(svg, "polygon")) == 1


def test_a_curve_writes_out_its_last_value():
    svg = curve("loss", [[1, 5.0], [2, 4.0], [3, 3.25]], "step")
    assert "3.25" in [one.text for one in elements(svg, "text")]


@pytest.mark.parametrize("pairs", [[[1, 2.0]], [[1, 0.0], [2, 0.0]]])
def test_a_curve_of_one_point_or_of_one_value_is_drawn(pairs):
    assert elements(curve("loss", pairs, "step"), "polyline")


def test_bars_are_as_high_as_their_values():
    svg = bars("users", ["1", "2–3"], [10, 5], "events")
    heights = [float(one.get("height")) for one in elements(svg, "rect")]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
