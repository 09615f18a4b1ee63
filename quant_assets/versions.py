"""Code versions from the definitions themselves: what computes an asset, not when it was edited."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

from pydantic import BaseModel


def code_version(*parts: Any) -> str:
    """Short hash of modules, functions, classes, settings and plain values.

    Source counts by its syntax tree without docstrings, so that comments and layout change nothing.
    """
    digest = hashlib.blake2b(digest_size=6)
    for part in parts:
        digest.update(_text(part).encode())
    return digest.hexdigest()


def modules_of(package: ModuleType) -> list[ModuleType]:
    """The modules that lie in a package, by name, without those of packages inside it: for a code version."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def _text(part: Any) -> str:
    if isinstance(part, BaseModel):
        return part.model_dump_json()
    if isinstance(part, ModuleType) or inspect.isroutine(part) or inspect.isclass(part):
        return _tree(part)  # type: ignore[arg-type]  # all of these can be hashed
    return repr(part)


@cache  # many features share a function, and reading its source takes a millisecond
def _tree(part: Any) -> str:
    source = inspect.getsource(part)
    tree = ast.parse(source if isinstance(part, ModuleType) else inspect.cleandoc("\n" + source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
