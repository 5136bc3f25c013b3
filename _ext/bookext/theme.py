"""What the theme gets wrong or does not know: buttons, and assets of other hosts."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from bookext.notebooks import has_notebook, notebook_name
from bookext.repository import launches


def _link(url: str, text: str, icon: str, tooltip: str) -> dict[str, str]:
    return {"type": "link", "url": url, "text": text, "icon": icon, "tooltip": tooltip}


def _buttons(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Offer the generated notebook: Jupyter and Colab open .ipynb files only."""
    buttons = [b for b in context.get("header_buttons", []) if b.get("label") != "download-buttons"]
    if doctree is not None and has_notebook(app.env, page):
        name = notebook_name(page)
        here = context["pathto"](f"notebooks/{name}.ipynb", 1)
        offers = [_link(here, ".ipynb", "fas fa-download", "Download this chapter as a notebook")]
        for place, url in launches(name).items():
            offers.append(_link(url, place, "fas fa-rocket", f"Open this chapter on {place}"))
        group = {
            "type": "group",
            "tooltip": "Run this chapter",
            "icon": "fas fa-download",
            "label": "run-buttons",
            "buttons": offers,
        }
        buttons.insert(0, group)
    context["header_buttons"] = buttons


def _mend(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Drop the roles of a bibliography that screen readers no longer know, or read wrongly."""
    body = context.get("body")
    if isinstance(body, str) and "doc-biblioentry" in body:
        body = body.replace(' role="doc-biblioentry"', "")
        context["body"] = body.replace('<div role="list" class="citation-list">', "<div>")


def setup(app: Sphinx) -> None:
    """Run after the theme has set its own buttons (priority 501)."""
    # Jupyter Book sets it for sphinx_comments, which the book leaves out.
    app.add_config_value("comments_config", {}, "")
    app.connect("html-page-context", _buttons, priority=900)
    app.connect("html-page-context", _mend, priority=900)
