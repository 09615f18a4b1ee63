"""Which code is the user's own, and how it is written on the disk now, whatever Python has in memory of it."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

PLATFORM = "quant_assets"
"""Our own package. What its modules import of each other is not gone through: what they call is."""

FRAME = (
    "resources",
    "quant_assets.backtests",
    "quant_assets.strategies.base",
    "quant_assets.strategies.orders",
    "quant_assets.strategies.windows",
)
"""What every strategy stands on, and is no part of any: like an installed package."""

_INSTALLED = {"site-packages", "dist-packages"}


def is_platform(module: str | None) -> bool:
    return (module or "").partition(".")[0] == PLATFORM


def is_own(module: str | None) -> bool:
    """Whether a module's code is a strategy's own: neither Python's, nor an installed package's, nor of FRAME."""
    name = module or "__main__"
    top = name.partition(".")[0]
    if top in (PLATFORM, "resources", "__main__"):
        return not any(name == one or name.startswith(f"{one}.") for one in FRAME)
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    file = _file(top)
    return file is None or not _INSTALLED & set(file.parts)


def version(module: str | None) -> str:
    """What an installed package calls its version, so that another one is another thing."""
    top = None if is_platform(module) else sys.modules.get((module or "").partition(".")[0])
    found = vars(top).get("__version__", "") if top is not None else ""
    return found if isinstance(found, str) else ""


def absolute(name: str, namespace: dict[str, Any]) -> types.ModuleType | str:
    """The module that a function imports by this name; the name where nothing has imported it yet."""
    inside = f"{namespace.get('__package__') or ''}.{name}".strip(".")
    return sys.modules.get(name) or sys.modules.get(inside) or name


def on_disk(module: str, inside: frozenset[str] = frozenset()) -> list[str]:
    """Names and digests of a module's source and of the user's own modules that it imports, and they import.

    `inside`: names that may be modules of the package `module`. Nothing for what was typed in or has no source.
    """
    found: dict[str, str] = {}
    waiting = [module, *(f"{module}.{name}" for name in sorted(inside))]
    while waiting:
        name = waiting.pop()
        if name in found or not is_own(name) or name == "__main__" or (name != module and is_platform(name)):
            continue
        file = _file(name)
        if file is not None and file.suffix == ".py" and file.exists():
            source = file.read_bytes()
            found[name] = _digest(source)
            if not is_platform(name):
                waiting += _imported(source, name if file.name == "__init__.py" else name.rpartition(".")[0])
    return [text for name in sorted(found) for text in (name, found[name])]


def node_on_disk(module: str | None, qualname: str) -> str:
    """A digest of a function's or a class's source, found by its name; nothing where other processes do not import it.

    Not by its line: the file may have been edited since.
    """
    if module is None or module == "__main__" or "<" in qualname or not is_own(module):
        return ""
    file = _file(module)
    if file is None or file.suffix != ".py" or not file.exists():
        return ""
    return _nodes(file.read_bytes()).get(qualname, "")


def in_words(node: Any) -> str:
    """A node or a tree as ast.dump of Python 3.11 writes it, but without docstrings: they change nothing that runs.

    Our own, in one pass: every process that loads the code location asks this of its 266 sources, and on a tree
    without docstrings ast.dump takes more than twice as long.
    """
    kind = node.__class__
    if kind is list:
        return f"[{', '.join([in_words(each) for each in node])}]"
    if kind not in _FIELDS:
        if not isinstance(node, ast.AST):
            return repr(node)
        _FIELDS[kind] = [(name, getattr(kind, name, ...) is None) for name in kind._fields]
    parts = []
    for name, omitted in _FIELDS[kind]:
        value: Any = getattr(node, name, None)
        if value is None and omitted:
            continue
        if name == "body" and kind in _DOCUMENTED and ast.get_docstring(node, clean=False) is not None:
            value = value[1:] or [ast.Pass()]
        parts.append(f"{name}={in_words(value)}")
    return f"{kind.__name__}({', '.join(parts)})"


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_FIELDS: dict[type, list[tuple[str, bool]]] = {}
"""The fields of each kind of node met so far, and whether they go unsaid where they are None."""


def _file(name: str) -> Path | None:
    """Where a module's source lies. Looks without importing anything."""
    held = sys.modules.get(name)
    if held is not None:
        file = getattr(held, "__file__", None)
        return None if file is None else Path(file)
    spec: ModuleSpec | None = None
    folders: list[str] | None = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), folders)
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or ())
    return None if spec is None or spec.origin is None else Path(spec.origin)


@lru_cache(maxsize=1024)  # by what it says, not by where it lies: a file that is edited is another source
def _digest(source: bytes) -> str:
    try:
        return hashlib.blake2b(in_words(ast.parse(source)).encode(), digest_size=16).hexdigest()
    except SyntaxError:  # as it is being edited; what is in memory runs all the same
        return hashlib.blake2b(source, digest_size=16).hexdigest()


@lru_cache(maxsize=1024)
def _imported(source: bytes, package: str) -> tuple[str, ...]:
    """Every module that a source may import, by absolute name."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ()
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = importlib.util.resolve_name("." * node.level, f"{package}.") if node.level else ""
            base = ".".join(part for part in (start.strip("."), node.module) if part)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(name for name in names if name))


@lru_cache(maxsize=256)
def _nodes(source: bytes) -> dict[str, str]:
    """Digests of a source's functions and classes, by qualified name."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}

    def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                yield prefix + child.name, hashlib.blake2b(in_words(child).encode(), digest_size=16).hexdigest()
            if isinstance(child, ast.ClassDef):
                yield from inside(child, f"{prefix}{child.name}.")

    return dict(inside(tree, ""))
