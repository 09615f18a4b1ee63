"""Code versions from the definitions themselves: what computes an asset, not when it was edited."""

from __future__ import annotations

import ast
import hashlib
import inspect
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


def _text(part: Any) -> str:
    if isinstance(part, BaseModel):
        return part.model_dump_json()
    if isinstance(part, ModuleType) or inspect.isroutine(part) or inspect.isclass(part):
        tree = ast.parse(
            inspect.cleandoc("\n" + inspect.getsource(part))
            if not isinstance(part, ModuleType)
            else inspect.getsource(part)
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        return ast.dump(tree)
    return repr(part)
