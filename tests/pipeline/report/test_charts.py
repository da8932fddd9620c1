"""Charts are well-formed SVG in which a value lies where its number says."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from model.evaluation.figures import Estimate
from pipeline.report.charts import Series, bars, curve, dots, legend, lines


def elements(svg: str, tag: str) -> list:
    return ElementTree.fromstring(svg).findall(f".//{tag}")


def texts(svg: str) -> list[str]:
    return [element.text for element in elements(svg, "text")]


def test_dots_lie_on_a_common_axis_from_zero():
    series = [
        Series("model", [Estimate(0.1, 0.05, 0.2), Estimate(0.05)]),
        Series("a & b", [None, Estimate(None)]),
    ]
    svg = dots(["all", "<task>"], series, "MRR")
    circles = [float(circle.get("cx")) for circle in elements(svg, "circle")]
    # The first circle is the legend's. The axis runs from 190 for 0 to 860 for the highest end, 0.2.
    assert circles[1:] == [pytest.approx(190 + 670 * 0.5, abs=0.1), pytest.approx(190 + 670 * 0.25, abs=0.1)]
    assert {"<task>", "a & b"} < set(texts(svg))


def test_long_names_of_groups_move_the_axis():
    svg = dots(["all", "launches of the last two weeks"], [Series("model", [Estimate(1.0), None])], "MRR")
    zero = next(float(text.get("x")) for text in elements(svg, "text") if text.text == "0")
    assert zero > 30 * 7


def test_lines_have_a_point_where_a_place_has_a_value():
    svg = lines("task A", ["no", "48 h"], [Series("model", [Estimate(0.2, 0.1, 0.3), None])])
    (path,) = (line.get("points") for line in elements(svg, "polyline"))
    assert len(path.split()) == 1


def test_lines_of_models_lie_side_by_side():
    series = [Series(name, [Estimate(0.2), Estimate(0.1)]) for name in ("a", "b")]
    first, second = (
        [float(place.split(",")[0]) for place in line.get("points").split()]
        for line in elements(lines("all", ["no", "48 h"], series), "polyline")
    )
    assert [right - left for left, right in zip(first, second, strict=True)] == pytest.approx([9, 9])


def test_a_legend_names_every_series_with_its_mark():
    svg = legend(["first", "second"])
    assert texts(svg) == ["first", "second"]
    assert len(elements(svg, "circle")) == len(elements(svg, "polygon")) == 1


def test_a_legend_takes_as_many_lines_as_it_needs():
    ys = {text.get("y") for text in elements(legend(["a name of thirty-four letters here"] * 4), "text")}
    assert len(ys) == 2


def test_a_curve_writes_out_its_last_value():
    assert "3.25" in texts(curve("loss", [[1, 5.0], [2, 4.0], [3, 3.25]], "step"))


@pytest.mark.parametrize("points", [[[1, 2.0]], [[1, 0.0], [2, 0.0]]])
def test_a_curve_of_one_point_or_of_one_value_is_drawn(points):
    assert elements(curve("loss", points, "step"), "polyline")


def test_bars_are_as_high_as_their_values():
    svg = bars("users", ["1", "2–3"], [10, 5], "events")
    heights = [float(bar.get("height")) for bar in elements(svg, "rect")]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)


def test_many_bars_fit_and_few_are_not_stretched():
    few, many = (
        [
            float(bar.get("x")) + float(bar.get("width"))
            for bar in elements(bars("users", names, [1] * len(names), ""), "rect")
        ]
        for names in (["1", "2"], [str(number) for number in range(20)])
    )
    assert few[-1] < 230 and 800 < many[-1] <= 880
