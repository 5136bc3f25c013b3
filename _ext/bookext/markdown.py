"""A resolved page as plain Markdown that Jupyter and Colab show well.

Working on the resolved document, and not on its source, means that numbers, citations,
references and verdicts are already what the reader of the site sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from docutils import nodes

from bookext.details import details
from bookext.quiz import TITLES, quiz, quiz_option, word

Inline = Callable[[nodes.Node], str]


def _escape(text: str) -> str:
    """Keep what Markdown would read as markup; dollars begin formulas in Jupyter."""
    return re.sub(r"([\\`*_$<\[\]])", r"\\\1", text.replace("\n", " "))


def inline(node: nodes.Node) -> str:
    """Markdown of an inline node."""
    if isinstance(node, nodes.Text):
        return _escape(node.astext())
    if isinstance(node, nodes.math):
        return f"${node.astext()}$"
    if isinstance(node, nodes.literal):
        return f"`{node.astext()}`"
    if isinstance(node, nodes.image) or "leans-mark" in node.get("classes", []):
        return ""
    if isinstance(node, nodes.raw):
        return node.astext() if node.get("format") == "html" else ""
    inner = "".join(inline(child) for child in node.children)
    if not inner.strip():
        return inner
    if isinstance(node, nodes.strong) or "verdict" in node.get("classes", []):
        return f"**{inner}**"
    if isinstance(node, nodes.emphasis | nodes.title_reference):
        return f"*{inner}*"
    if isinstance(node, nodes.reference):
        return _reference(node, inner)
    return inner


def _reference(node: nodes.reference, inner: str) -> str:
    """Outside addresses stay links; a place on the site is only named, there is no site here."""
    address = str(node.get("refuri", ""))
    return f"[{inner}]({address})" if address.startswith("http") else inner


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _indent(text: str, first: str) -> str:
    pad = " " * len(first)
    lines = text.splitlines() or [""]
    return "\n".join([first + lines[0], *(pad + line if line else "" for line in lines[1:])])


def blocks(children: list[nodes.Node], level: int = 1) -> str:
    """Markdown of block nodes, with an empty line between them."""
    parts = [block(child, level) for child in children]
    return "\n\n".join(part for part in parts if part.strip())


def _heading(node: nodes.title, level: int) -> str:
    return "#" * min(level, 6) + " " + inline_children(node)


def inline_children(node: nodes.Node) -> str:
    """Markdown of a node's inline children."""
    return "".join(inline(child) for child in node.children).strip()


def _math(node: nodes.math_block) -> str:
    text = node.astext().strip()
    number = node.get("bn_number") or node.get("number")
    if node.get("nowrap"):
        return f"$$\n{text}\n$$" if not text.startswith("\\begin") else text
    if "\\\\" in text and "\\begin" not in text:
        text = f"\\begin{{aligned}}\n{text}\n\\end{{aligned}}"
    tag = f"\n\\tag{{{number}}}" if number else ""
    return f"$$\n{text}{tag}\n$$"


def _list(node: nodes.Element, level: int) -> str:
    numbered = isinstance(node, nodes.enumerated_list)
    start = int(node.get("start", 1))
    items = []
    for index, item in enumerate(node.children):
        mark = f"{start + index}. " if numbered else "- "
        items.append(_indent(blocks(item.children, level), mark))
    return "\n".join(items)


def _table(node: nodes.table) -> str:
    rows = [
        [blocks(entry.children).replace("\n", " ").replace("|", "\\|") for entry in row.children]
        for row in node.findall(nodes.row)
    ]
    if not rows:
        return ""
    width = max(len(row) for row in rows)
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * width)
    title = next((child for child in node.children if isinstance(child, nodes.title)), None)
    head = f"*{inline_children(title)}*\n\n" if title is not None else ""
    return head + "\n".join(lines)


def _admonition(node: nodes.Element, level: int) -> str:
    title = next((child for child in node.children if isinstance(child, nodes.title)), None)
    rest = [child for child in node.children if child is not title]
    words = " ".join(
        part for part in (_kind(node), inline_children(title) if title else "") if part
    )
    head = f"**{words}**\n\n" if words else ""
    return _quote(head + blocks(rest, level))


def _kind(node: nodes.Element) -> str:
    """Name the kind of a box where its title does not: Theorem 1.1, Exercise 2.3, Note."""
    name = type(node).__name__
    if isinstance(node, nodes.admonition) or not isinstance(node, nodes.Admonition):
        return ""
    if name in ("note", "warning", "tip", "hint", "important", "caution", "danger", "attention"):
        return name.capitalize()
    word = str(node.get("realtype") or node.get("type") or "").capitalize()
    return f"{word} {node.get('bn_number', '')}".strip()


def _proof(node: nodes.Element, level: int) -> str:
    """Unwrap the box that a proof puts around its box."""
    return blocks(list(node.children), level)


def _figure(node: nodes.figure) -> str:
    caption = next(iter(node.findall(nodes.caption)), None)
    legend = next(iter(node.findall(nodes.legend)), None)
    label = f"**Fig. {node['bn_number']}.** " if node.get("bn_number") else ""
    parts = [label + inline_children(caption)] if caption is not None else []
    if legend is not None:
        parts.append(blocks(legend.children))
    return "\n\n".join(parts)


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _plain(node: nodes.Node) -> str:
    """Text for a summary, where Markdown is not read everywhere but formulas are."""
    if isinstance(node, nodes.math):
        return f"${node.astext()}$"
    if isinstance(node, nodes.Text):
        return escape(node.astext(), quote=False)
    return "".join(_plain(child) for child in node.children)


def _quiz(node: quiz, level: int) -> str:
    options = [child for child in node.children if isinstance(child, quiz_option)]
    question = [child for child in node.children if not isinstance(child, quiz_option)]
    parts = [f"**{TITLES[node['kind']]}.**", blocks(question, level)]
    for item in options:
        body = f"**{word(item)}** {blocks(item.children[1:], level)}"
        parts.append(_details(_plain(item.children[0]), body))
    return "\n\n".join(parts)


def _definitions(node: nodes.definition_list, level: int) -> str:
    parts = []
    for item in node.children:
        terms = [child for child in item.children if isinstance(child, nodes.term)]
        body = [child for child in item.children if isinstance(child, nodes.definition)]
        names = ", ".join(inline_children(term) for term in terms)
        parts.append(
            f"**{names}**\n\n" + "\n\n".join(blocks(part.children, level) for part in body)
        )
    return "\n\n".join(parts)


def block(node: nodes.Node, level: int = 1) -> str:
    """Markdown of one block node; what has no form of its own gives that of its children."""
    if isinstance(node, nodes.Text):
        return _escape(node.astext()).strip()
    if isinstance(node, nodes.comment | nodes.target | nodes.image | nodes.substitution_definition):
        return ""
    if isinstance(node, nodes.raw):
        keep = node.get("format") == "html" and "bn-plotly" not in node.astext()
        return node.astext() if keep else ""
    if type(node).__name__ == "proof_node":
        return _proof(node, level)
    for kind, write in _WRITERS.items():
        if isinstance(node, kind):
            return write(node, level)
    if node.children and all(isinstance(c, nodes.Text | nodes.Inline) for c in node.children):
        return inline_children(node)
    return blocks(list(node.children), level)


def _section(node: nodes.Element, level: int) -> str:
    return blocks(list(node.children), level + 1)


_WRITERS: dict[type[nodes.Node], Callable[..., str]] = {
    nodes.section: _section,
    nodes.title: lambda node, level: _heading(node, level - 1),
    nodes.rubric: lambda node, level: f"**{inline_children(node)}**",
    nodes.paragraph: lambda node, level: inline_children(node),
    nodes.math_block: lambda node, level: _math(node),
    nodes.literal_block: lambda node, level: f"```{node.get('language', '')}\n{node.astext()}\n```",
    nodes.bullet_list: _list,
    nodes.enumerated_list: _list,
    nodes.definition_list: _definitions,
    nodes.table: lambda node, level: _table(node),
    nodes.figure: lambda node, level: _figure(node),
    nodes.block_quote: lambda node, level: _quote(blocks(list(node.children), level)),
    nodes.Admonition: _admonition,
    details: lambda node, level: _details(node["summary"], blocks(list(node.children), level)),
    quiz: _quiz,
    nodes.transition: lambda node, level: "---",
}
