"""Figures that compute in the browser: each has a script of its own, loaded only where it is used.

An element ``<div data-widget="NAME" data-figure="ID">`` asks for ``_static/NAME.js`` and
``_static/NAME.css``, and for the scripts in the folder ``_static/NAME/`` where there is one. The
script puts its controls in the place of the image of figure ``ID``, which is what print, notebooks
and browsers without JavaScript show. They are plain scripts and not modules, since browsers load
no modules for a page that is opened from disk.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

#: Files that every page needs; all others in `_static` belong to a widget.
EVERYWHERE = frozenset({"book"})


def _own(app: Sphinx) -> dict[str, str]:
    """Scripts and styles of widgets, as a page names them, and the widget of each."""
    folder = Path(app.srcdir) / "_static"
    files = [
        path.relative_to(folder) for kind in ("js", "css") for path in folder.rglob(f"*.{kind}")
    ]
    widgets = {f"_static/{path.as_posix()}": path.parts[0].split(".")[0] for path in files}
    return {name: widget for name, widget in widgets.items() if widget not in EVERYWHERE}


def _only_where_used(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Take the scripts and styles of widgets off pages that have none of them."""
    used = set(re.findall(r'data-widget="([\w-]+)"', str(context.get("body", ""))))
    unused = {name for name, widget in _own(app).items() if widget not in used}
    for kind in ("script_files", "css_files"):
        files = context.get(kind, [])
        context[kind] = [f for f in files if str(getattr(f, "filename", f)) not in unused]


def setup(app: Sphinx) -> None:
    """Run when the theme has added its own files."""
    app.connect("html-page-context", _only_where_used, priority=950)
