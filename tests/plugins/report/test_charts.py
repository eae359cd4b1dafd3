"""Line charts: numbers in the table, means of many points, a picture that fits the page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from plugins.report.charts import Point, lines, short


def test_the_table_has_the_numbers_and_their_intervals() -> None:
    points = [Point(0, 0.25, (0.1, 0.4)), Point(2_000_000, 0.5)]
    chart = lines("Score", {"run": points}, x_name="trained tokens", y_name="score", marks=True)
    assert chart.table.rows == [("run", 0, "0.25 [0.1, 0.4]"), ("run", 2_000_000, "0.5")]
    assert chart.summary == "score over trained tokens. run: from 0.25 at 0 to 0.5 at 2M"
    assert chart.legend == ["run"]


def test_many_points_become_means_and_the_summary_says_so() -> None:
    points = [Point(at, at % 2) for at in range(3000)]
    chart = lines("Loss", {"run": points}, x_name="tokens", y_name="loss")
    assert "each point is the mean of about 10. run: from 0.5 at 4.5 to 0.5 at 2.99k" in chart.summary
    assert len(chart.table.rows) == 12


def test_a_line_without_points_is_left_out_and_none_at_all_is_refused() -> None:
    chart = lines("Loss", {"a": [], "b": [Point(1, 2)]}, x_name="tokens", y_name="loss")
    assert chart.legend == ["b"]
    with pytest.raises(ValueError, match="Loss: no line has a point"):
        lines("Loss", {"a": []}, x_name="tokens", y_name="loss")


def test_a_picture_holds_no_words_of_others_and_takes_its_colours_from_the_page() -> None:
    chart = lines("T", {"$\\frac{name": [Point(0, 1), Point(5, 3)]}, x_name="tokens", y_name="loss")
    texts = [each.text for each in ElementTree.fromstring(chart.svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"tokens", "loss"} < {*texts}
    assert "name" not in chart.svg.replace("xmlns", "")
    assert re.findall(r"#[0-9a-f]{6}\b(?!\w)", chart.svg) == []
    assert "var(--line-0)" in chart.svg and "currentColor" in chart.svg and "var(--grid)" in chart.svg
    assert "<style" not in chart.svg


def test_pictures_of_one_page_share_no_ids() -> None:
    ids = [
        {*re.findall(r' id="([^"]+)"', lines(title, {"a": [Point(0, 1)]}, x_name="x", y_name="y").svg)}
        for title in ("One", "Two")
    ]
    assert ids[0] and not ids[0] & ids[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.0003, "0.0003"),
        (999, "999"),
        (1500, "1.5k"),
        (2e6, "2M"),
        (3.25e9, "3.25B"),
        (-1e12, "-1T"),
    ],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert short(value) == shown
