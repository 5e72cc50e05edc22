"""Charts: points where they belong, gaps where nothing can be shown, round ticks."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from lowdose.report.chart import Curve, Line, draw_chart, linear_ticks, log_ticks
from tests.report.pages import HOSTILE, hostile_curve


def paths(curve: Curve) -> list[ElementTree.Element]:
    """Lines of the chart itself, not those of the legend."""
    chart = ElementTree.fromstring(draw_chart(curve)).find("svg")
    kinds = {"line", "dots"}
    return [path for path in chart.iter("path") if kinds & set(path.get("class").split())]


def corners(path: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"[ML](\S+) ([\d.]+)", path.get("d")), float)


def test_a_straight_line_is_drawn_straight_from_left_to_right_upward():
    (path,) = paths(Curve("", "", "", [Line("a", [0, 1, 3], [0, 2, 6])]))
    (x0, y0), (x1, y1), (x2, y2) = corners(path)
    assert x0 < x1 < x2
    assert y0 > y1 > y2  # SVG counts downward
    assert (x1 - x0) / (x2 - x0) == pytest.approx(1 / 3, abs=0.01)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(1 / 3, abs=0.01)


def test_a_power_law_is_straight_on_logarithmic_axes():
    x = np.geomspace(0.01, 10, 4)
    (path,) = paths(Curve("", "", "", [Line("a", x, x**-2)], log_x=True, log_y=True))
    steps = np.diff(corners(path), axis=0)
    assert np.ptp(steps, axis=0) == pytest.approx([0, 0], abs=0.21)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_a_line_breaks_where_a_point_cannot_be_shown(bad):
    curve = Curve("", "", "", [Line("a", [1, 2, 3, 4, 5], [1, 2, bad, 4, 5])], log_y=True)
    (path,) = paths(curve)
    assert re.sub(r"[^ML]", "", path.get("d")) == "MLML"
    assert "nan" not in draw_chart(curve)


def test_lines_differ_by_their_dashes_and_points_are_not_joined():
    lines = [Line(str(index), [0, 1], [index, 1]) for index in range(5)]
    *solid, dots = paths(Curve("", "", "", [*lines, Line("dots", [0, 1], [1, 2], "dots")]))
    assert len({path.get("stroke-dasharray") for path in solid}) == 5
    assert "L" not in dots.get("d")


@pytest.mark.parametrize("y", [[], [3.0], [3.0, 3.0], [0.0, 0.0], [np.nan, np.nan], [1e-30, 2e-30]])
@pytest.mark.parametrize("is_log", [False, True])
def test_whatever_there_is_to_show_the_chart_is_sound(y, is_log):
    curve = Curve("t", "x", "y", [Line("a", range(len(y)), y)], log_x=is_log, log_y=is_log)
    text = draw_chart(curve)
    ElementTree.fromstring(text)
    assert "nan" not in text
    assert "inf" not in text


def test_as_many_x_as_y_are_expected():
    with pytest.raises(ValueError, match="has 2 x and 3 y"):
        draw_chart(Curve("", "", "", [Line("a", [1, 2], [1, 2, 3])]))


@pytest.mark.parametrize("seed", range(50))
def test_ticks_are_few_round_and_inside(seed):
    rng = np.random.default_rng(seed)
    low = rng.normal() * 10 ** rng.uniform(-6, 6)
    high = low + 10 ** rng.uniform(-3, 3) * abs(low)
    ticks = linear_ticks(low, high)
    assert 2 <= len(ticks) <= 9
    assert low - 1e-6 * (high - low) <= ticks[0] < ticks[-1] <= high + 1e-6 * (high - low)
    logarithmic = log_ticks(abs(low), abs(low) + high - low)
    assert 2 <= len(logarithmic) <= 12
    assert logarithmic == sorted(set(logarithmic))


def test_text_is_escaped():
    figure = ElementTree.fromstring(draw_chart(hostile_curve()))
    assert figure.find("h3").text == HOSTILE
    assert {element.tag for element in figure.iter()} == {
        "figure", "h3", "svg", "path", "text", "ul", "li", "figcaption", "p"
    }  # fmt: skip
