"""Hashes of code: everything that a function reaches in this package, and nothing else.

A stored result names the code that made it. What counts is found by following names from the
function through every module of the package, so no arithmetic escapes; words do not count
(comments, docstrings, annotations of functions, imports), nor does the place of a definition, so
that moving code changes no hash. The text that is hashed is the same on every version of Python.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, order=True)
class Definition:
    """A name at the top level of a module."""

    module: str
    name: str


def code_hash(measure: Callable[..., Any]) -> str:
    """Return a hash of all code of the package that a measurement runs."""
    return digest(*_texts(cover(measure)))


def statistic_source(statistic: Callable[..., Any]) -> str:
    """Return the code that a claim's statistic reaches, with its arguments and its values.

    A `functools.partial` counts with its arguments, a nested function with what it closes over.
    """
    functions, values = _unwrapped(statistic)
    reached = set().union(*(cover(function) for function in functions))
    return "\n".join([*values, *_texts(reached)])


def digest(*texts: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def cover(function: Callable[..., Any]) -> frozenset[Definition]:
    """Return every definition that a function reaches in its own module and in this package.

    Raises
    ------
    ValueError
        If the function has no name at the top level of a module, or a name on the way cannot be
        followed: one that is taken from the package's facade, or a module passed on as a whole.
    """
    module, name = inspect.getmodule(function), function.__qualname__.partition(".")[0]
    if module is None or name not in _source(module.__name__).statements:
        raise ValueError(f"{function!r} is not defined by name in a module: its code is not found")
    start = Definition(module.__name__, name)
    found: set[Definition] = set()
    waiting = {start}
    while waiting:
        here = waiting.pop()
        found.add(here)
        waiting |= set(_uses(here)) - found
    return frozenset(found)


@dataclass(frozen=True)
class _Source:
    """A module's top-level statements by the names that they define, and what its imports mean.

    An import means a module and a name in it, or a module alone (None).
    """

    statements: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str | None]]


@lru_cache(maxsize=256)
def _source(module: str) -> _Source:
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    statements: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            for name in _bound(node) - {"__all__"}:
                statements.setdefault(name, []).append(node)
    imports = {name: meant for node in ast.walk(tree) for name, meant in _imported(node)}
    return _Source(statements, imports)


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a top-level statement defines or changes.

    A bare call (``registry.add(...)``) counts for every name in it: it may change any of them.
    """
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Expr):
        return _names(node)
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            found.add(part.name)
        elif isinstance(part, ast.Assign):
            found |= set().union(*map(_names, part.targets))
        elif isinstance(part, ast.AnnAssign | ast.AugAssign | ast.For):
            found |= _names(part.target)
    return found


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _imported(node: ast.AST) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Return what an import of something of this package brings: its name here, and its origin."""
    if isinstance(node, ast.ImportFrom) and node.module and _ours(node.module):
        for alias in node.names:
            whole = _is_module(node.module, alias.name)
            origin = (f"{node.module}.{alias.name}", None) if whole else (node.module, alias.name)
            yield alias.asname or alias.name, origin
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if _ours(alias.name):
                yield alias.asname or PACKAGE, (alias.name if alias.asname else PACKAGE, None)


def _ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


@lru_cache(maxsize=4096)
def _is_module(package: str, name: str) -> bool:
    """Say whether a name in a package is a module."""
    is_package = hasattr(importlib.import_module(package), "__path__")
    return is_package and importlib.util.find_spec(f"{package}.{name}") is not None


def _uses(here: Definition) -> Iterator[Definition]:
    """Return the definitions that the statements of one mention by name."""
    source = _source(here.module)
    for node in source.statements.get(here.name, []):
        for name, *attributes in _chains(_bare(node)):
            if name in source.statements:
                yield Definition(here.module, name)
            if name in source.imports:
                yield _origin(here.module, *source.imports[name], attributes)


def _chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Return each name in a tree with the attributes that are taken from it: ``a.b.c``."""
    inner = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute | ast.Name) and id(part) not in inner:
            names, at = [], part
            while isinstance(at, ast.Attribute):
                names.append(at.attr)
                inner.add(id(at.value))
                at = at.value  # type: ignore[assignment]
            if isinstance(at, ast.Name):
                yield (at.id, *reversed(names))


def _origin(
    reader: str, module: str, name: str | None, attributes: Sequence[str] = ()
) -> Definition:
    """Return the definition behind an imported name, or behind an attribute of a module."""
    rest = list(attributes)
    while name is None:
        if not rest:
            raise ValueError(
                f"{reader} passes on the module {module} as a whole: name what it needs of it"
            )
        name = rest.pop(0)
        if _is_module(module, name):
            module, name = f"{module}.{name}", None
    if module == PACKAGE:
        raise ValueError(
            f"{reader} takes {name} from {PACKAGE} itself: import it from the module that "
            "defines it, so that its code can be found"
        )
    passed_on = _source(module).imports.get(name)
    return _origin(module, *passed_on) if passed_on else Definition(module, name)


def _texts(reached: set[Definition] | frozenset[Definition]) -> list[str]:
    """Return the text of each reached definition, sorted, without where it stands."""
    nodes = (node for d in reached for node in _source(d.module).statements.get(d.name, []))
    return sorted({_canonical(_bare(node)) for node in nodes})


@lru_cache(maxsize=4096)
def _bare(node: ast.stmt) -> ast.AST:
    """Return a statement without docstrings, imports and the annotations of functions."""
    return _Bare().visit(copy.deepcopy(node)) or ast.Module([], [])


class _Bare(ast.NodeTransformer):
    """Leaves out what no computation depends on."""

    def visit(self, node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node):
            return None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        return self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    """Say whether a statement is a docstring, or another text that nothing reads."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _canonical(node: Any) -> str:
    """Return a tree as text that no version of Python writes otherwise.

    `ast.dump` shows fields that only some versions have; here an empty field is not shown at all.
    Nor are the empty texts that Python 3.12.1 puts at the end of a format such as ``{a:>{b}}``.
    """
    if isinstance(node, ast.Constant):
        return f"Constant({node.value!r})"
    if isinstance(node, ast.JoinedStr):
        node = ast.JoinedStr([v for v in node.values if getattr(v, "value", None) != ""])
    if isinstance(node, ast.AST):
        fields = [(name, getattr(node, name, None)) for name in node._fields if name != "ctx"]
        shown = [f"{name}={_canonical(part)}" for name, part in fields if part not in (None, [])]
        return f"{type(node).__name__}({', '.join(shown)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_canonical, node))}]"
    return repr(node)


def _unwrapped(function: Callable[..., Any]) -> tuple[list[Callable[..., Any]], list[str]]:
    """Return a function with the functions that it was given, and its other values as text."""
    arguments: dict[str, Any] = {}
    if hasattr(function, "func"):
        arguments = {str(i): value for i, value in enumerate(function.args)}  # type: ignore[attr-defined]
        arguments |= function.keywords  # type: ignore[attr-defined]
        function = function.func
    arguments |= inspect.getclosurevars(function).nonlocals
    functions, values = [function], []
    for name, value in sorted(arguments.items()):
        if inspect.isfunction(value) or hasattr(value, "func"):
            more, theirs = _unwrapped(value)
            functions += more
            values += [f"{name}: {text}" for text in theirs]
        else:
            values.append(f"{name}={value!r}")
    return functions, values
