"""References to code: ours must lead somewhere, other projects' are shown as they are written.

How a foreign type reaches Sphinx differs between Pythons and between releases of libraries
(``pathlib.Path`` or ``pathlib._local.Path``, ``ArrayLike`` or the union behind it), and other
projects' inventories cannot be fetched on every machine. So no list of them is kept.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PACKAGE = "bnlib"

#: What a signature or a type in a docstring becomes; its words may be prose ("sequence of int").
TYPES = {"class", "exc", "obj"}


def own_modules() -> dict[str, dict[str, Any]]:
    """Contents of the package's imported modules, by their last name."""
    return {
        name.rpartition(".")[2]: vars(module)
        for name, module in list(sys.modules.items())
        if name.startswith(f"{PACKAGE}.")
    }


def is_own_class(name: str) -> bool:
    """Whether a class of this name is defined in the package."""
    found = (content.get(name) for content in own_modules().values())
    return any(isinstance(c, type) and c.__module__.startswith(f"{PACKAGE}.") for c in found)


def is_own(kind: str, target: str) -> bool:
    """Whether a reference means something in the package.

    Parameters
    ----------
    kind : str
        Role of the Python domain: "class", "func", ...
    target : str
        The name as it is written.
    """
    head, dot, _ = target.lstrip(".~").partition(".")
    if head == PACKAGE or is_own_class(head):
        return True
    if dot:
        return head in own_modules()
    # A bare type is a library's or a word; of other bare names only Python's own are foreign.
    return kind not in TYPES and not hasattr(builtins, head)


def _find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.Element | None:
    """Look for a class of ours that another of our modules names without its module."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or "." in target or not is_own_class(target):
        return None
    # The mode that an author asks for with a leading dot: in any module.
    node["refspecific"] = True
    return env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, shown
    )


def _accept(app: Sphinx, domain: object, node: pending_xref) -> bool | None:
    """Keep quiet about a name of another project."""
    if node.get("refdomain") != "py" or is_own(node["reftype"], node["reftarget"]):
        return None
    return True


def setup(app: Sphinx) -> None:
    """Run where Sphinx found no target, and before it says so."""
    app.connect("missing-reference", _find)
    app.connect("warn-missing-reference", _accept)
