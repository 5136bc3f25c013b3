"""Figures: every one says in words what it shows, scrolls in its own box, and Plotly is local."""

from __future__ import annotations

import shutil
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)


def _bundle_text(bundle: nodes.Element) -> str:
    """Plain-text form of an output, which for ``page.figure`` is the alternative text."""
    for part in bundle.children:
        if isinstance(part, nodes.container) and part.get("mime_type") == "text/plain":
            return part.astext().strip()
    return ""


def _alternative_texts(app: Sphinx, doctree: nodes.document) -> None:
    """Give each image its computed text; warn, and so fail the build, where there is none."""
    for bundle in list(doctree.findall(nodes.container)):
        if bundle.get("nb_element") != "mime_bundle":
            continue
        images = list(bundle.findall(nodes.image))
        text = _bundle_text(bundle)
        for image in images:
            if not image.get("alt") and not text.startswith("<"):
                image["alt"] = text
        if images:
            box = nodes.container(classes=["bn-scroll"])
            bundle.replace_self(box)
            box += bundle
    for image in doctree.findall(nodes.image):
        if len(str(image.get("alt", "")).split()) < 2:
            message = "image without alternative text: use page.figure(fig, key, alt=...)"
            LOG.warning(message, location=image)


def _copy_plotly(app: Sphinx, error: Exception | None) -> None:
    """Serve the installed Plotly from the site, once; a page loads it when it has a figure."""
    if error is not None or app.builder.format != "html":
        return
    import plotly

    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    target = Path(app.outdir) / "_static" / "plotly.min.js"
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def setup(app: Sphinx) -> None:
    """Connect both."""
    app.connect("doctree-read", _alternative_texts)
    app.connect("build-finished", _copy_plotly)
