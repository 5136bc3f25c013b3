"""Where a result comes from: hashes of code and grid, versions, commit, machine."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

VERSIONED = ("torch", "numpy", "scipy", "pandas", "pyarrow")
# What runs are measured with. Other modules (claims, statistics, the store) judge or keep the
# measurements, and may change without touching them.
MEASURING = frozenset(
    f"bnlib.{m}"
    for m in (
        "data", "models", "residual", "variants", "train", "ensemble", "probes", "curvature",
        "layers", "functional", "inference", "randomnet",
    )
)  # fmt: skip
FOLDERS = ("bnlib.experiments.", "bnlib.probes.")


def run_key(run: Any, code: str) -> str:
    """Return the name of a run: a hash of its factors, of the code and of PyTorch's version."""
    factors = json.dumps(dataclasses.asdict(run), sort_keys=True)
    return _digest(factors, code, importlib.metadata.version("torch").split("+")[0])


def grid_hash(runs: Iterable[Any]) -> str:
    """Return a hash of a set of runs, whatever their order."""
    return _digest(*sorted(json.dumps(dataclasses.asdict(r), sort_keys=True) for r in runs))


def code_hash(measure: Callable[..., Any]) -> str:
    """Return a hash of the code that a measurement runs, comments and docstrings left out.

    Covered are the definitions in the function's own module that it reaches, and the modules
    of this package that train and measure.
    """
    module = inspect.getmodule(measure)
    if module is None:
        raise ValueError(f"{measure!r} lies in no module, so its code cannot be hashed")
    tree = _tree(module)
    reached = _reached(tree, measure.__name__)
    texts = [ast.dump(_bare(node)) for node in tree.body if _names(node) & reached]
    texts += [ast.dump(_bare(_tree(m))) for m in _measuring_modules(tree, reached)]
    return _digest(*texts)


def function_source(function: Callable[..., Any]) -> str:
    """Return the code that a function reaches in its own module, without comments.

    A `functools.partial` counts with its arguments, a nested function with its values. For the
    statistic of a claim, the protocol of that name counts as part of its module.
    """
    arguments = ""
    if hasattr(function, "func"):
        arguments = repr((function.args, sorted(function.keywords.items())))  # type: ignore[attr-defined]
        function = function.func
    closure = inspect.getclosurevars(function).nonlocals
    arguments += repr(sorted((k, v) for k, v in closure.items() if not callable(v)))
    tree = _tree(sys.modules[function.__module__])
    if function.__module__.startswith("bnlib.experiments.claims."):
        protocol = importlib.import_module(function.__module__.replace(".claims.", "."))
        tree.body = _tree(protocol).body + tree.body
    reached = _reached(tree, function.__qualname__.split(".")[0])
    # Module constants count; the claims themselves, which name this function, do not.
    body = [n for n in tree.body if _names(n) & reached and "CLAIMS" not in _names(n)]
    return "\n".join([arguments, *(ast.dump(_bare(n)) for n in body)])


def stamp(folder: Path | None = None) -> dict[str, Any]:
    """Return versions, commit, date and machine, as they are now."""
    folder = folder or Path(__file__).parents[1]
    commit = _git(folder, "rev-parse", "HEAD")
    return {
        "commit": commit,
        "clean": commit is not None and _git(folder, "status", "--porcelain") == "",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cpu": cpu_model(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name).split("+")[0] for name in VERSIONED},
        },
    }


def cpu_model() -> str:
    """Return the name of the processor, with family and stepping where Linux tells them.

    Cloud machines give one model name to several generations, which round differently.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in reversed(lines) if ":" in line)
    found = {key.strip(): value.strip() for key, value in pairs}
    keys = ("model name", "cpu family", "model", "stepping")
    return " / ".join(found[k] for k in keys if k in found) or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _bare(tree: ast.AST) -> ast.AST:
    """Remove docstrings; comments are not in the tree in the first place."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _names(node: ast.AST) -> set[str]:
    """Return the names that a top-level statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def _used(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _reached(tree: ast.Module, start: str) -> set[str]:
    """Return all names that the definition of ``start`` uses, directly or through others."""
    reached, waiting = set(), {start}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for node in tree.body:
            if name in _names(node):
                waiting |= _used(node) - reached
    return reached


def _imports(tree: ast.Module, reached: set[str] | None) -> set[str]:
    """Return the package's modules from which the tree imports a reached name (None: any)."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if reached is None or (alias.asname or alias.name) in reached:
                    found |= {node.module, f"{node.module}.{alias.name}"}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MEASURING or name.startswith(FOLDERS)}


def _measuring_modules(tree: ast.Module, reached: set[str]) -> list[ModuleType]:
    """Return, sorted by name, the modules that the reached names come from, and theirs."""
    waiting, names = _imports(tree, reached), set()
    while waiting:
        name = waiting.pop()
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue  # a name inside a module, not a module
        names.add(name)
        waiting |= _imports(_tree(module), None) - names
    return [importlib.import_module(name) for name in sorted(names)]
