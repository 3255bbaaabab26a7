"""The charts: positions of the marks, titles, escaped text."""

from xml.etree import ElementTree

import pytest

from eval.report.charts import axis_end, axis_strip, bar_strip, point_strip, reliability_chart, roc_chart


def parsed(chart):
    return ElementTree.fromstring(str(chart))


def estimate(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def of_class(chart, name):
    return [element for element in parsed(chart).iter() if name in element.get("class", "").split()]


@pytest.mark.parametrize(
    ("highest", "end"),
    [(0.0, 0.1), (0.1, 0.1), (0.11, 0.2), (0.57, 0.6), (1.0, 1.0), (1.2, 1.5), (4.157, 4.5), (37.0, 40.0)],
)
def test_axis_ends_at_a_round_number_above_all_values(highest, end):
    assert axis_end([0.05, highest] if highest else []) == pytest.approx(end)


def test_points_and_intervals_have_the_right_positions():
    strip = point_strip([("model", estimate(0.3, 0.2, 0.5))], end=0.6, title="macro-F1")
    [point], [interval] = of_class(strip, "point"), of_class(strip, "interval")
    assert point.get("cx") == "50.00%"
    assert (interval.get("x"), interval.get("width")) == ("33.33%", "50.00%")
    assert parsed(strip).find("title").text == "macro-F1"


def test_point_without_interval():
    assert of_class(point_strip([("control", estimate(0.3))], end=1, title=""), "interval") == []


def test_band_has_the_position_of_the_interval():
    [band] = of_class(point_strip([], end=1, title="", band=(0.25, 0.75)), "band")
    assert (band.get("x"), band.get("width")) == ("25.00%", "50.00%")


def test_axis_shows_its_numbers():
    assert [text.text for text in parsed(axis_strip(0.6)).iter("text")] == ["0", "0.15", "0.3", "0.45", "0.6"]


def test_bar_has_interval_and_tick():
    strip = bar_strip(estimate(0.5, 0.4, 0.7), title="F1", tick=0.1)
    assert of_class(strip, "bar")[0].get("width") == "50.00%"
    assert of_class(strip, "whisker")[0].get("x") == "40.00%"
    assert of_class(strip, "tick")[0].get("x1") == "10.00%"
    assert of_class(bar_strip(estimate(0.5), title="F1"), "whisker") == []
    assert of_class(bar_strip(estimate(0.5, 0.4, 0.7), title=""), "tick") == []


def test_perfect_roc_curve_goes_through_the_upper_left_corner():
    chart = roc_chart([(0, 0), (0, 1), (1, 1)], title="ROC curve of Edema", description="area 1")
    [curve], [frame] = of_class(chart, "curve"), of_class(chart, "track")
    left, top = float(frame.get("x")), float(frame.get("y"))
    assert curve.get("points").split()[1] == f"{left:.1f},{top:.1f}"
    assert [parsed(chart).find(name).text for name in ("title", "desc")] == ["ROC curve of Edema", "area 1"]


def test_calibrated_bins_are_on_the_diagonal_and_grow_with_their_studies():
    bins = [{"mean_probability": p, "observed": p, "num_studies": n} for p, n in ((0.0, 100), (0.5, 4), (1.0, 25))]
    chart = reliability_chart(bins, title="", description="")
    [diagonal] = of_class(chart, "diagonal")
    points = of_class(chart, "point")
    ends = [(float(diagonal.get(f"x{end}")), float(diagonal.get(f"y{end}"))) for end in (1, 2)]
    assert [(float(point.get("cx")), float(point.get("cy"))) for point in (points[0], points[2])] == ends
    assert float(points[0].get("r")) > float(points[2].get("r")) > float(points[1].get("r"))


def test_markup_in_a_title_is_escaped():
    strip = point_strip([], end=1, title='</title><script>alert("x")</script>')
    assert "<script" not in strip
    assert parsed(strip).find("title").text.startswith("</title>")
