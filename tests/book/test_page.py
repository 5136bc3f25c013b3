"""What puts numbers and figures on the page, and how the figures look."""

from __future__ import annotations

import base64
import itertools
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import bnlib
from bnlib.book import page, palette, plots
from bnlib.book.numbers import effect, number, p_value
from bnlib.evidence.stats import mean_band

Shown = list[tuple[dict[str, Any], dict[str, Any]]]
ALT = "A line that rises from zero to one."


@pytest.fixture(autouse=True)
def own_style() -> Iterator[None]:
    with mpl.rc_context():
        plots.use_style()
        yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Collect what reaches the notebook."""
    made: Shown = []
    monkeypatch.setattr(page, "_display", lambda data, meta: made.append((data, meta)))
    return made


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLIB_BOOK", "1")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNLIB_BOOK", raising=False)


def line() -> plt.Figure:
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="rise")
    return fig


class TestGlue:
    @pytest.mark.usefixtures("book")
    def test_stores_text_under_its_name(self, shown: Shown) -> None:
        page.glue("speed", 3.2134, ".1f")
        data, meta = shown[0]
        assert data == {page.PREFIX + "text/plain": "'3.2'"}
        assert meta["scrapbook"] == {"name": "speed", "mime_prefix": page.PREFIX}

    @pytest.mark.usefixtures("book")
    def test_is_what_the_book_reads(self, shown: Shown) -> None:
        glue = pytest.importorskip("myst_nb.ext.glue")
        page.glue("speed", "3.2")
        data, meta = shown[0]
        cell = {"outputs": [{"data": data, "metadata": meta, "output_type": "display_data"}]}
        nbformat = pytest.importorskip("nbformat")
        found = glue.extract_glue_data_cell(nbformat.from_dict(cell))
        assert [(key, out["data"]) for key, out in found] == [("speed", {"text/plain": "'3.2'"})]

    @pytest.mark.usefixtures("alone")
    def test_is_silent_elsewhere(self, shown: Shown) -> None:
        page.glue("speed", 3.2)
        assert shown == []

    @pytest.mark.usefixtures("book")
    def test_claims_come_from_the_ledger(
        self, shown: Shown, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = {"id": "c", "estimate": 2.0, "ci_low": 1.5, "ci_high": np.inf, "p": 1e-9, "n": 10}
        table = pd.DataFrame([{**row, "verdict": "supported"}])
        monkeypatch.setattr(bnlib, "ledger", lambda: table, raising=False)
        words = page.glue_claim("c")
        assert words == {
            "estimate": "2",
            "low": "1.5",
            "high": "∞",
            "p": "< 0.001",
            "n": "10",
            "verdict": "supported",
        }
        assert [meta["scrapbook"]["name"] for _, meta in shown] == [f"c.{key}" for key in words]
        with pytest.raises(KeyError, match="no claim 'd'"):
            page.glue_claim("d")

    @pytest.mark.usefixtures("book")
    def test_only_the_estimate_of_an_interval_has_a_plus(self, shown: Shown) -> None:
        page.glue_interval("gain", 1.234, -0.5, math.inf, "+.1f")
        texts = {meta["scrapbook"]["name"]: next(iter(data.values())) for data, meta in shown}
        assert texts == {"gain": "'+1.2'", "gain.low": "'−0.5'", "gain.high": "'∞'"}

    def test_outside_ipython_nothing_happens(self) -> None:
        page.glue("speed", 3.2)


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (3.14159, "3.14"),
            (-0.5, "−0.5"),
            (1.23e-7, "1.23×10⁻⁷"),
            (float("inf"), "∞"),
            (float("-inf"), "−∞"),
            (float("nan"), "–"),
            (None, "–"),
            (pd.NA, "–"),
        ],
    )
    def test_number(self, value: object, text: str) -> None:
        assert number(value) == text

    def test_effect_has_two_digits_of_its_interval(self) -> None:
        assert effect(1.21347, 1.21218, 1.21472) == "1.2135 [1.2122,\u00a01.2147]"
        assert effect(10.2, 6.1, 17.2) == "10 [6,\u00a017]"
        assert effect(0.0, -0.31, 0.3) == "0.00 [−0.31,\u00a00.30]"
        assert effect(18.8, 15.5, math.inf) == "18.8 [15.5,\u00a0∞]"
        assert effect(77.0, 77.0, 77.0) == "77 [77,\u00a077]"
        assert effect(77.0, 77.0, 77.0 + 2e-14) == "77 [77,\u00a077]"
        assert effect(5.24e5, 5.1e5, 5.4e5) == "5.24×10⁵ [5.1×10⁵,\u00a05.4×10⁵]"
        assert effect(math.nan, math.nan, math.nan) == "–"

    @pytest.mark.parametrize(
        ("value", "text"), [(0.04321, "0.043"), (2e-5, "< 0.001"), (None, "–"), (1.0, "1")]
    )
    def test_p_value(self, value: object, text: str) -> None:
        assert p_value(value) == text


class TestFigure:
    @pytest.mark.usefixtures("book")
    def test_stores_svg_pdf_and_words(self, shown: Shown) -> None:
        page.figure(line(), "f", ALT)
        data, meta = shown[0]
        assert meta["scrapbook"]["name"] == "f"
        root = ET.fromstring(data[page.PREFIX + "image/svg+xml"])
        assert root.tag.endswith("svg")
        assert base64.b64decode(data[page.PREFIX + "application/pdf"]).startswith(b"%PDF")
        assert data[page.PREFIX + "text/plain"] == ALT
        assert ALT in data[page.PREFIX + "image/svg+xml"]

    @pytest.mark.usefixtures("alone")
    def test_shows_elsewhere(self, shown: Shown) -> None:
        page.figure(line(), "f", ALT)
        assert [sorted(data) for data, _ in shown] == [["image/svg+xml", "text/plain"]]
        assert plt.get_fignums() == []

    @pytest.mark.usefixtures("book")
    def test_same_bytes_each_time(self, shown: Shown) -> None:
        page.figure(line(), "f", ALT)
        page.figure(line(), "f", ALT)
        assert shown[0] == shown[1]
        assert "dc:date" not in shown[0][0][page.PREFIX + "image/svg+xml"]

    @pytest.mark.parametrize("alt", ["", "fig", "a plot", "curves.svg"])
    def test_must_say_what_it_shows(self, alt: str) -> None:
        with pytest.raises(ValueError, match="must say in words"):
            page.figure(line(), "f", alt)


class TestInteractive:
    @pytest.mark.usefixtures("book")
    def test_carries_its_data_and_words_but_no_library(self, shown: Shown) -> None:
        go = pytest.importorskip("plotly.graph_objects")
        page.interactive(
            go.Figure(go.Scatter(x=[1], y=[2], name="</script>")), "i", 'Say "this" & that now.'
        )
        text = shown[0][0][page.PREFIX + "text/html"]
        assert len(text) < 20_000
        assert text.count("</script>") == 1
        body = re.search(r'<script type="application/json">(.*?)</script>', text)
        assert body is not None
        assert json.loads(body[1])["data"][0]["name"] == "</script>"
        assert "&quot;this&quot; &amp; that" in text

    @pytest.mark.usefixtures("alone")
    def test_shows_elsewhere_by_its_own_means(self) -> None:
        calls: list[bool] = []

        class Fake:
            def show(self) -> None:
                calls.append(True)

        page.interactive(Fake(), "i", ALT)
        assert calls == [True]


def contrast(*colors: Any) -> float:
    """Contrast of two colours as WCAG defines it, from 1 to 21."""
    rgb = np.array([mpl.colors.to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return float(light / dark)


class TestPalette:
    def test_each_normaliser_has_colour_line_and_name(self) -> None:
        assert palette.COLORS.keys() == palette.LINES.keys() == palette.NAMES.keys()
        looks = [(palette.COLORS[k], str(palette.LINES[k])) for k in palette.COLORS]
        assert len(set(looks)) == len(looks)
        assert len(set(palette.COLORS.values())) == len(palette.COLORS)

    @pytest.mark.parametrize("name", palette.COLORS)
    def test_contrast_on_white(self, name: str) -> None:
        """WCAG asks for 3:1 from the parts of a graphic."""
        assert contrast(palette.COLORS[name], "white") >= 3

    def test_unknown_name_is_told(self) -> None:
        with pytest.raises(KeyError, match="no colour for 'xx'"):
            plots.style("xx")


class TestBand:
    def test_interval_is_students(self) -> None:
        x = np.random.default_rng(0).normal(size=(7, 3))
        df = pd.DataFrame(x).rename_axis("seed").melt(ignore_index=False).reset_index()
        _, ax = plt.subplots()
        plots.band(ax, df, "variable", "value")
        low, high = scipy.stats.t.interval(0.95, 6, loc=x.mean(0), scale=scipy.stats.sem(x))
        drawn = ax.collections[0].get_paths()[0].vertices
        for want in (low, high):
            for point in enumerate(want):
                assert np.isclose(drawn, point).all(axis=1).any()
        np.testing.assert_allclose(ax.get_lines()[-1].get_ydata(), x.mean(0))

    def test_missing_seeds_are_left_out(self) -> None:
        values = [1.0, 3.0, np.nan, 2.0, np.nan, np.nan]
        df = pd.DataFrame({"step": [0, 0, 1, 1, 2, 2], "seed": [0, 1] * 3, "acc": values})
        band = mean_band(df, "step", "acc")
        np.testing.assert_allclose(band["mean"], [2, 2, np.nan])
        assert np.isfinite(band["low"][0])
        assert np.isnan(band["low"][1:]).all()
        _, ax = plt.subplots()
        plots.band(ax, df, "step", "acc")
        np.testing.assert_allclose(ax.get_lines()[-1].get_ydata(), [2, 2, np.nan])

    @pytest.mark.parametrize(("seeds", "lines"), [(3, 2 * (3 + 1)), (20, 2)])
    def test_draws_few_seeds_one_by_one(self, seeds: int, lines: int) -> None:
        rows = [(n, s, t, s + t) for n in ("bn", "none") for s in range(seeds) for t in range(4)]
        df = pd.DataFrame(rows, columns=["norm", "seed", "step", "acc"])
        _, ax = plt.subplots()
        plots.band(ax, df, "step", "acc", hue="norm")
        assert len(ax.get_lines()) == lines
        named = {ln.get_label(): ln.get_color() for ln in ax.get_lines()}
        assert named["BN"] == palette.COLORS["bn"]
        assert named["no norm"] == palette.COLORS["none"]


class TestLabels:
    @given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.floats(0.1, 50))
    def test_spread_keeps_order_distance_and_centre(
        self, heights: list[float], step: float
    ) -> None:
        heights = sorted(heights)
        moved = plots._spread(heights, step)
        assert np.all(np.diff(moved) >= step - 1e-6)
        assert np.mean(moved) == pytest.approx(np.mean(heights), abs=1e-6)

    def test_far_apart_labels_stay(self) -> None:
        assert plots._spread([0.0, 100.0], 10.0) == [0.0, 100.0]

    def test_labels_do_not_overlap_on_the_page(self) -> None:
        fig, ax = plt.subplots()
        for i in range(5):
            ax.plot([0, 1], [0, 1 + 0.001 * i], label=f"line {i}")
        texts = plots.direct_labels(ax)
        fig.canvas.draw()
        boxes = sorted((t.get_window_extent() for t in texts), key=lambda box: box.y0)
        assert [t.get_text() for t in texts] == [f"line {i}" for i in range(5)]
        for below, above in itertools.pairwise(boxes):
            assert above.y0 >= below.y1 - 2.5  # points of empty line height


class TestForest:
    STRATA = pd.DataFrame(
        {
            "stratum": ["a", "b"],
            "estimate": [2.0, 9.0],
            "ci_low": [1.5, 8.0],
            "ci_high": [2.5, np.inf],
            "n": [10, 5],
            "verdict": ["supported", "inconclusive"],
        }
    )

    def test_first_row_on_top_with_its_n(self) -> None:
        _, ax = plt.subplots()
        plots.forest(ax, self.STRATA)
        labels = {t.get_text(): t.get_position()[1] for t in ax.get_yticklabels()}
        assert labels == {"a  (n = 10)": 1, "b  (n = 5)": 0}

    def test_a_lower_bound_ends_in_an_arrow(self) -> None:
        _, ax = plt.subplots()
        plots.forest(ax, self.STRATA, log=True, support=1.5, refute=1.1, null=1)
        arrows = [t for t in ax.texts if getattr(t, "arrow_patch", None) is not None]
        assert [tuple(a.xy) for a in arrows] == [(9.0, 0)]

    def test_thresholds_are_drawn_and_named(self) -> None:
        fig, ax = plt.subplots()
        plots.forest(ax, self.STRATA, support=1.5, refute=1.1)
        assert {line.get_xdata()[0] for line in ax.get_lines()} >= {1.5, 1.1}
        names = [t.get_text() for t in fig.legends[0].get_texts()]
        assert names == ["supported beyond", "refuted beyond"]


def test_finding_is_flush_left() -> None:
    _, ax = plt.subplots()
    plots.finding(ax, "BN is faster", sub="5 seeds")
    assert ax.get_title(loc="left") == "BN is faster"
    assert [t.get_text() for t in ax.texts] == ["5 seeds"]


def test_heat_writes_every_share_in_an_ink_that_can_be_read() -> None:
    figure, ax = plt.subplots()
    cells = pd.DataFrame([[0.0, 0.5], [0.994, 1.0]], index=["a", "b"])
    plots.heat(ax, cells)
    assert [text.get_text() for text in ax.texts] == ["0", "50", "99", "100"]
    assert [text.get_color() for text in ax.texts][::3] == ["white", "black"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    plots.heat(ax, pd.DataFrame([np.linspace(0, 1, 101)]), cmap="cividis")
    fill = ax.images[-1].get_cmap()
    for share, text in zip(np.linspace(0, 1, 101), ax.texts[4:], strict=True):
        assert contrast(fill(share), text.get_color()) >= 3.5
    plt.close(figure)
