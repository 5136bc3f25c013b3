"""The look of every figure: one style, and a few helpers that draw what a claim needs.

Nothing here trains or reads results; the functions take the data they draw. The colours are in
`palette`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnlib.book.palette import COLORS, CYCLE, FAINT, GRID, INK, LINES, NAMES, Dash

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

STYLE: dict[str, Any] = {
    "figure.figsize": (6.6, 3.7),
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "savefig.transparent": True,
    # Glyphs as paths look the same on every machine; a fixed salt gives the same bytes each time.
    "svg.fonttype": "path",
    "svg.hashsalt": "bnlib",
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.labelsize": 10.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "image.cmap": "cividis",
    "figure.dpi": 100,
}


def use_style() -> None:
    """Set matplotlib's defaults to the book's look, for this process."""
    import matplotlib as mpl
    from cycler import cycler

    for key, value in STYLE.items():
        mpl.rcParams[key] = value  # type: ignore[index]
    mpl.rcParams["axes.prop_cycle"] = cycler(color=list(CYCLE))


def style(name: str) -> dict[str, Any]:
    """Colour and line style of a normaliser, as keywords for ``ax.plot``.

    Raises
    ------
    KeyError
        If no colour is set for `name`; the message lists the names.
    """
    if name not in COLORS:
        raise KeyError(f"no colour for {name!r}; the palette has {', '.join(COLORS)}")
    return {"color": COLORS[name], "linestyle": LINES[name]}


def _line_look(
    level: object, index: int, looks: Mapping[Any, Mapping[str, Any]] | None
) -> dict[str, Any]:
    if looks is not None and level in looks:
        return dict(looks[level])
    if isinstance(level, str) and level in COLORS:
        return style(level)
    dashes: tuple[Dash, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)))
    return {"color": CYCLE[index % len(CYCLE)], "linestyle": dashes[index % len(dashes)]}


def band(
    ax: Axes,
    df: pd.DataFrame,
    x: str,
    y: str,
    *,
    hue: str | None = None,
    unit: str = "seed",
    order: Sequence[Any] | None = None,
    labels: Mapping[Any, str] | None = None,
    looks: Mapping[Any, Mapping[str, Any]] | None = None,
    few: int = 6,
    level: float = 0.95,
) -> None:
    """Draw the mean over seeds with its Student interval, and the seeds themselves where few.

    Parameters
    ----------
    ax
        Axes to draw on.
    df
        Tidy table: one row per seed and `x`.
    x, y, hue, unit
        Columns: abscissa, ordinate, arm (one line each), seed.
    order
        Arms to draw, in this order; all of them by default.
    labels, looks
        Label and ``ax.plot`` keywords per arm; by default the normaliser's name and style.
    few
        Up to this many seeds are also drawn one by one as thin lines.
    level
        Level of the interval.
    """
    from bnlib.evidence.stats import mean_band

    levels = [None] if hue is None else list(order if order is not None else df[hue].unique())
    for index, arm in enumerate(levels):
        part = df if hue is None else df[df[hue] == arm]
        table = part.pivot_table(index=unit, columns=x, values=y, dropna=False)
        if table.empty:
            continue
        curve = mean_band(table.melt(value_name=y), x, y, level)
        look = _line_look(arm, index, looks)
        if len(table) <= few:
            ax.plot(
                table.columns, table.to_numpy().T, color=look["color"],
                alpha=0.3, lw=0.7, label="_seed",
            )  # fmt: skip
        ax.fill_between(
            curve[x], curve["low"], curve["high"], color=look["color"], alpha=0.18, lw=0
        )
        name = (labels or {}).get(arm, NAMES.get(str(arm), str(arm)))
        ax.plot(curve[x], curve["mean"], label=name if arm is not None else "_mean", **look)


def direct_labels(
    ax: Axes, *, pad: float = 6.0, gap: float = 1.15, fontsize: float = 9.5, legend: bool = False
) -> list[Text]:
    """Write each line's label at its right end, in its colour, moved apart where they overlap.

    Lines whose label begins with an underscore are skipped; returns the texts.
    Call it after the limits and scales are set.

    Parameters
    ----------
    pad
        Distance from the end of the line, in points.
    gap
        Smallest distance between two labels, in line heights.
    legend
        Keep a legend as well.
    """
    found = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    ends = [end for line in found if (end := _line_end(ax, line)) is not None]
    ends.sort(key=lambda item: item[1])
    step = fontsize * gap
    heights = _spread([y for _, y, _ in ends], step)
    texts: list[Text] = []
    for (xy, y, line), height in zip(ends, heights, strict=True):
        text = ax.annotate(
            str(line.get_label()),
            xy=xy,
            xytext=(pad, height - y),
            textcoords="offset points",
            color=line.get_color(),
            fontsize=fontsize,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )
        texts.append(text)
    if not legend and (old := ax.get_legend()) is not None:
        old.remove()
    return texts


def _line_end(ax: Axes, line: Any) -> tuple[tuple[float, float], float, Any] | None:
    """Last finite point of a line inside the limits, and its height on the page in points."""
    xs, ys = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    low, high = sorted(ax.get_xlim())
    keep = np.isfinite(xs) & np.isfinite(ys) & (xs >= low) & (xs <= high)
    if not keep.any():
        return None
    point = (float(xs[keep][-1]), float(ys[keep][-1]))
    pixels = ax.transData.transform(point)[1]
    return point, float(pixels * 72 / ax.get_figure(root=True).dpi), line  # type: ignore[union-attr]


def _spread(heights: Sequence[float], step: float) -> list[float]:
    """Move sorted heights apart until neighbours are at least `step` apart, keeping their centre.

    No label moves further than it must: the sum of the squared distances is least.
    """
    from scipy.optimize import isotonic_regression

    slots = step * np.arange(len(heights))
    moved: list[float] = (isotonic_regression(np.asarray(heights) - slots).x + slots).tolist()
    return moved


def finding(target: Axes | Figure, text: str, *, sub: str | None = None) -> None:
    """Title a figure with what it shows, flush left; `sub` says in small letters how."""
    from matplotlib.axes import Axes as AxesType

    if isinstance(target, AxesType):
        target.set_title(text, loc="left", pad=24 if sub else 10)
        if sub:
            look: dict[str, Any] = {"fontsize": 9, "color": FAINT}
            target.annotate(sub, (0, 1), (0, 7), "axes fraction", "offset points", **look)
        return
    words = f"{text}\n{sub}" if sub else text
    target.suptitle(words, x=0.01, ha="left", fontsize=11, fontweight="bold")


def heat(ax: Axes, cells: pd.DataFrame, *, cmap: str = "cividis", fontsize: float = 8.5) -> None:
    """Draw a table as coloured cells with their values, in per cent.

    Parameters
    ----------
    ax : Axes
        Where to draw; the rows get their labels, the columns are left to the caller.
    cells : DataFrame
        Shares from 0 to 1, one row of cells per row.
    cmap : str
        Matplotlib's name of the colours for 0 to 100 per cent.
    fontsize : float
        Size of the numbers, in points.
    """
    colors = ax.imshow(100 * cells, aspect="auto", cmap=cmap, vmin=0, vmax=100).get_cmap()
    for i, row in enumerate(cells.to_numpy()):
        for k, value in enumerate(row):
            # 1.55: the least contrast over all colours is highest, in the book's dark mode too.
            ink = "white" if sum(colors(value)[:3]) < 1.55 else "black"
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": fontsize}
            ax.text(k, i, f"{100 * value:.0f}", color=ink, **look)
    ax.set_yticks(range(len(cells)), cells.index)
    ax.grid(visible=False)


def forest(
    ax: Axes,
    strata: pd.DataFrame,
    *,
    label: str | Iterable[str] = "stratum",
    support: float | None = None,
    refute: float | None = None,
    null: float | None = None,
    xlabel: str = "effect",
    log: bool = False,
) -> None:
    """Draw one estimate with its interval per stratum, first row on top.

    An interval that is open on one side (its bound NaN or infinite: censored runs give only a
    lower bound) ends in an arrow.

    Parameters
    ----------
    strata
        Table with `estimate`, `ci_low`, `ci_high`, the column `label` and, where present, `n`
        and `verdict` (its colour: supported, refuted, else grey).
    label
        The column that names a row, or the names themselves.
    support, refute, null
        Threshold lines: beyond `support` the claim is supported, beyond `refute` refuted.
    log
        Logarithmic abscissa, for ratios.
    """
    names = (
        strata[label].astype(str).tolist() if isinstance(label, str) else [str(s) for s in label]
    )
    if log:
        _ratio_axis(ax)
    for value, text, look in (
        (null, "no effect", ":"),
        (support, "supported beyond", "-"),
        (refute, "refuted beyond", "--"),
    ):
        if value is not None:
            ax.axvline(value, color=FAINT, lw=1, ls=look, zorder=1, label=text)
    verdicts = strata["verdict"].tolist() if "verdict" in strata else [""] * len(strata)
    bounds = zip(strata["estimate"], strata["ci_low"], strata["ci_high"], strict=True)
    for row, ((estimate, low, high), verdict) in enumerate(zip(bounds, verdicts, strict=True)):
        color = {"supported": COLORS["bn"], "refuted": COLORS["ln"]}.get(str(verdict), FAINT)
        _interval(ax, len(strata) - 1 - row, float(estimate), float(low), float(high), color)
    if "n" in strata:
        names = [f"{name}  (n = {int(n)})" for name, n in zip(names, strata["n"], strict=True)]
    ax.set_yticks(range(len(strata) - 1, -1, -1), names)
    ax.set_ylim(-0.6, len(strata) - 0.4)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(xlabel)
    # Room for the arrows, and a legend that stays clear of the label whatever the height.
    ax.margins(x=0.14)
    fig = ax.get_figure(root=True)
    if fig is not None and not fig.legends and ax.get_legend_handles_labels()[0]:
        fig.legend(loc="outside lower center", ncols=3)


def _ratio_axis(ax: Axes) -> None:
    """Logarithmic abscissa with ticks at 1, 2, 5, 10, written as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _interval(ax: Axes, y: float, estimate: float, low: float, high: float, color: str) -> None:
    """One row of a forest plot; a bound that is not finite is drawn as an arrow."""
    left = low if np.isfinite(low) else estimate
    right = high if np.isfinite(high) else estimate
    ax.plot([left, right], [y, y], color=color, lw=2.2, solid_capstyle="butt", zorder=2)
    for bound, side in ((low, -1), (high, 1)):
        if not np.isfinite(bound) and np.isfinite(estimate):
            arrow = {"arrowstyle": "<|-", "color": color, "lw": 2.2, "shrinkA": 0, "shrinkB": 0}
            ax.annotate(
                "",
                xy=(estimate, y),
                xytext=(side * 30, 0),
                textcoords="offset points",
                arrowprops=arrow,
            )
    if np.isfinite(estimate):
        ax.plot([estimate], [y], "o", color=color, ms=7, zorder=3)
