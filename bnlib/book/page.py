"""What the cells of a chapter call to put numbers and figures on the page.

A chapter begins with ``from bnlib import page`` and ``page.setup()``. Then

``page.glue("speedup", 3.21, ".1f")``
    names a number; ``{glue:text}`speedup``` puts it into the prose.
``page.glue_claim("convergence-faster")``
    names a claim's numbers: ``ID.estimate``, ``ID.low``, ``ID.high``, ``ID.p``, ``ID.n``,
    ``ID.verdict``.
``page.figure(fig, "fig_curves", alt=f"Line chart ... {speedup:.1f} times sooner.")``
    names a matplotlib figure; the directive ``{glue:figure} fig_curves`` places it with a
    caption, and `alt`, computed like any other number, becomes its alternative text.
``page.interactive(fig, "int_eps", alt="...")``
    the same for a Plotly figure, drawn by the copy of Plotly that the site itself serves.

While the book is built (the environment variable ``BNLIB_BOOK`` is set) a name is stored with the
notebook and nothing is shown at the cell. Anywhere else (Jupyter, Colab, a plain interpreter)
numbers are silent and figures are shown where they are made; nothing but IPython is needed.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
from typing import TYPE_CHECKING, Any

from bnlib.book.numbers import number, p_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Bundle = dict[str, Any]

#: Prefix under which the book's build finds a stored output (the convention of scrapbook).
PREFIX = "application/papermill.record/"


def in_book() -> bool:
    """Whether the book's build runs this process."""
    return bool(os.environ.get("BNLIB_BOOK"))


def setup() -> None:
    """Set the look of the figures and make their bytes repeatable; trains and seeds nothing."""
    from bnlib.book import plots

    plots.use_style()


def glue(key: str, value: object, spec: str = "") -> None:
    """Give a value a name that the prose can use: ``{glue:text}`key```.

    Parameters
    ----------
    key
        Unique on the page.
    value
        Anything with a text form; formatted by `spec` as :func:`format` does.
    spec
        Format specification, ``".1f"`` for example.
    """
    _store(key, {"text/plain": repr(format(value, spec))})


def glue_claim(claim: str, spec: str = ".3g") -> dict[str, str]:
    """Name the numbers of a claim, ``ID.estimate`` and so on, and return them formatted.

    Parameters
    ----------
    claim
        The claim's id in the ledger.
    spec
        Format of the estimate and of its interval.

    Raises
    ------
    KeyError
        If the ledger has no such claim.
    """
    import bnlib

    rows = bnlib.ledger().set_index("id")
    if claim not in rows.index:
        raise KeyError(f"the ledger has no claim {claim!r}")
    row = rows.loc[claim]
    words = {
        "estimate": number(row["estimate"], spec),
        "low": number(row["ci_low"], spec),
        "high": number(row["ci_high"], spec),
        "p": p_value(row["p"]),
        "n": number(row["n"], ".0f"),
        "verdict": str(row["verdict"]),
    }
    for name, text in words.items():
        glue(f"{claim}.{name}", text)
    return words


def glue_interval(key: str, estimate: float, low: float, high: float, spec: str = ".2f") -> None:
    """Name an estimate and its interval: ``KEY``, ``KEY.low`` and ``KEY.high``.

    Parameters
    ----------
    key
        Unique on the page.
    estimate, low, high
        The numbers.
    spec
        Format of all three; its plus sign, where it has one, is the estimate's only.
    """
    glue(key, number(estimate, spec))
    for end, bound in (("low", low), ("high", high)):
        glue(f"{key}.{end}", number(bound, spec.removeprefix("+")))


def figure(fig: Figure, key: str, alt: str) -> None:
    """Give a matplotlib figure a name that ``{glue:figure}`` places, and close it.

    Parameters
    ----------
    fig
        The figure; stored as SVG for the site and as PDF for print.
    key
        Unique on the page.
    alt
        What the figure shows, in a sentence or two, for whoever does not see it.

    Raises
    ------
    ValueError
        If `alt` says nothing.
    """
    import matplotlib.pyplot as plt

    _check_alt(key, alt)
    bundle = {"image/svg+xml": _svg(fig, alt), "text/plain": alt}
    if in_book():
        bundle["application/pdf"] = base64.b64encode(_render(fig, "pdf")).decode()
    plt.close(fig)
    _store(key, bundle, show=True)


def interactive(fig: Any, key: str, alt: str) -> None:
    """Give a Plotly figure a name that ``{glue:figure}`` places.

    On the site one copy of Plotly draws it, in the page's light or dark colours; without
    JavaScript the page says `alt`. In Jupyter and Colab Plotly's own renderer shows it.

    Parameters
    ----------
    fig
        A ``plotly.graph_objects.Figure``; frames and sliders are kept.
    key
        Unique on the page.
    alt
        What the figure shows and what moving its controls does.
    """
    _check_alt(key, alt)
    if not in_book():
        fig.show()
        return
    data = json.dumps(json.loads(fig.to_json()), separators=(",", ":"), sort_keys=True)
    # "<" is escaped so that no text in the figure can end the script element.
    data = data.replace("<", "\\u003c")
    text = html.escape(alt)
    block = (
        f'<div class="bn-plotly" role="img" aria-label="{text}">'
        f'<script type="application/json">{data}</script>'
        f'<noscript><p class="bn-noscript">{text} (The figure itself needs JavaScript.)</p>'
        f"</noscript></div>"
    )
    _store(key, {"text/html": block, "text/plain": alt})


def _check_alt(key: str, alt: str) -> None:
    if len(alt.split()) < 4:
        raise ValueError(
            f"figure {key!r}: alt must say in words what the figure shows, got {alt!r}"
        )


def _svg(fig: Figure, alt: str) -> str:
    text = _render(fig, "svg", Title=alt).decode()
    # The declaration and doctype in front of the root element only hinder embedding.
    return text[text.index("<svg") :]


def _render(fig: Figure, kind: str, **metadata: str) -> bytes:
    """Bytes of a figure that depend on the figure only: no date, no version."""
    when = {"svg": "Date", "pdf": "CreationDate"}[kind]
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, metadata={when: None, "Creator": None, **metadata})
    return buffer.getvalue()


def _store(key: str, bundle: Bundle, *, show: bool = False) -> None:
    """Store a bundle under a name while the book is built; else show it, if it is to be seen."""
    if in_book():
        bundle = {PREFIX + kind: data for kind, data in bundle.items()}
        _display(bundle, {"scrapbook": {"name": key, "mime_prefix": PREFIX}})
    elif show:
        _display(bundle, {})


def _display(bundle: Bundle, metadata: dict[str, Any]) -> None:
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        return
    if get_ipython() is not None:
        display(bundle, raw=True, metadata=metadata)
