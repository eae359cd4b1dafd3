"""Line charts as SVG, drawn by matplotlib and coloured by the page.

matplotlib chooses scales and ticks; the trainer has it already. Its SVG is then made fit for a page of light
and dark: colours become variables of the style sheet, letters stay text, ids and rules for the whole page go.
Names of lines stand in the page's legend, not in the picture, so that no legend lies over a line and no word
of others gets into the SVG.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from plugins.report.blocks import Chart, Table

_INCHES = (4.8, 2.8)
"""At 72 points an inch as wide as a phone's page, so that letters keep their size there."""

_DRAWN_POINTS = 300
_LISTED_POINTS = 12
_COLOURS = 6
_DASHES = ("-", "--", "-.", ":")
_INK, _GRID = "#a0000f", "#a0000e"
_VARIABLES = {
    _INK: "currentColor",
    _GRID: "var(--grid)",
    **{f"#a0000{at}": f"var(--line-{at})" for at in range(_COLOURS)},
}
_HEAD = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
_ID = re.compile(r' id="([^"]*)"')
_SIZE = re.compile(r' (?:width|height)="[\d.]+pt"')


class Point(NamedTuple):
    """A point of a line, and its 95% interval if it is known."""

    x: float
    y: float
    interval: tuple[float, float] | None = None


Lines = Mapping[str, Sequence[Point]]


def lines(
    title: str, series: Lines, *, x_name: str, y_name: str, marks: bool = False, from_zero: bool = False
) -> Chart:
    """Draw a chart of one or more lines.

    Args:
        title: What it shows.
        series: Points by the name of the line; a line without points is left out of the picture.
        x_name: What the horizontal axis counts.
        y_name: What the vertical axis shows.
        marks: Whether each point gets a mark; for few points.
        from_zero: Whether the vertical axis begins at 0.

    Raises:
        ValueError: No line has a point.
    """
    drawn = {name: _thinned(points) for name, points in series.items() if points}
    if not drawn:
        raise ValueError(f"{title}: no line has a point")
    sizes = {len(points) / len(drawn[name]) for name, points in series.items() if points}
    thinned = f"; each point is the mean of about {max(sizes):.0f}" if max(sizes) > 1 else ""
    return Chart(
        title=title,
        svg=Markup(_svg(drawn, x_name, y_name, marks=marks, from_zero=from_zero, key=_key(title))),
        legend=list(drawn),
        summary=f"{y_name} over {x_name}{thinned}. {_told(drawn)}",
        table=_table(title, drawn, x_name),
    )


def short(value: float) -> str:
    """A number in few letters: 1.2M, 350, 0.0003."""
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def _svg(drawn: Lines, x_name: str, y_name: str, *, marks: bool, from_zero: bool, key: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    style: dict[Any, Any] = {
        **{name: _INK for name in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color")},
        **{"ytick.color": _INK, "grid.color": _GRID, "font.size": 10.5, "axes.grid": True},
        **{"svg.fonttype": "none", "svg.hashsalt": key, "axes.spines.top": False, "axes.spines.right": False},
        **{"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "lines.linewidth": 1.8},
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=_INCHES, layout="constrained", facecolor="none")
        axes = figure.subplots()
        axes.set_facecolor("none")
        for at, points in enumerate(drawn.values()):
            look: dict[str, Any] = {
                "color": f"#a0000{at % _COLOURS}",
                "linestyle": _DASHES[at // _COLOURS % len(_DASHES)],
                "marker": "o" if marks or len(points) == 1 else None,
            }
            xs, ys = [point.x for point in points], [point.y for point in points]
            if any(point.interval for point in points):
                ends = [point.interval or (point.y, point.y) for point in points]
                below = [max(0.0, y - low) for y, (low, _) in zip(ys, ends, strict=True)]
                above = [max(0.0, high - y) for y, (_, high) in zip(ys, ends, strict=True)]
                axes.errorbar(xs, ys, [below, above], capsize=3, **look)
            else:
                axes.plot(xs, ys, **look)
        axes.set(xlabel=x_name, ylabel=y_name)
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        image = io.StringIO()
        figure.savefig(image, format="svg", metadata={"Date": None}, transparent=True)
    return _for_page(image.getvalue(), key)


def _for_page(svg: str, key: str) -> str:
    """Colours as variables, no rule or id that reaches beyond this picture."""
    svg = _SIZE.sub("", _HEAD.sub("", svg), count=2)
    used = {*re.findall(r"#([\w.-]+)", svg)}
    svg = _ID.sub(lambda found: f' id="{key}{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def _key(title: str) -> str:
    """Beginning of the ids of a picture."""
    return f"c{zlib.crc32(title.encode('utf-8', 'surrogatepass')):08x}-"


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most 300 points, each the mean of as many neighbours."""
    size = -(-len(points) // _DRAWN_POINTS)
    if size <= 1:
        return points
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return [
        Point(sum(each.x for each in of) / len(of), sum(each.y for each in of) / len(of)) for of in groups
    ]


def _told(drawn: Lines) -> str:
    """First and last value of each line."""
    return "; ".join(
        f"{name}: from {short(points[0].y)} at {short(points[0].x)} to {short(points[-1].y)} "
        f"at {short(points[-1].x)}"
        for name, points in drawn.items()
    )


def _table(title: str, drawn: Lines, x_name: str) -> Table:
    rows = []
    for name, points in drawn.items():
        last, most = len(points) - 1, min(_LISTED_POINTS, len(points))
        for at in dict.fromkeys(round(each * last / max(most - 1, 1)) for each in range(most)):
            point = points[at]
            shown = f"{point.y:.4g}"
            if point.interval:
                shown += f" [{point.interval[0]:.4g}, {point.interval[1]:.4g}]"
            rows.append((name, round(point.x), shown))
    return Table(caption=f"{title}: numbers", head=("line", x_name, "value"), rows=rows, is_open=False)
