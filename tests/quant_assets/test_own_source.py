"""A source in words: its tree as Python tells it, without docstrings."""

from __future__ import annotations

import ast
import sys

import pytest

from quant_assets.own_source import in_words
from resources.config import PROJECT


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="ast.dump leaves empty lists out from 3.13 on")
@pytest.mark.parametrize("folder", ["quant_assets/strategies", "resources/streams", "sensors"])
def test_words_are_those_of_python_itself(folder: str) -> None:
    for path in sorted((PROJECT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        told = in_words(tree)
        assert told == ast.dump(_bare(tree)), path


def _bare(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[bool(ast.get_docstring(node)) :] or [ast.Pass()] if node.body else []
    return tree


@pytest.mark.parametrize("source", ['"""Told."""', "class A:\n  'Told.'", "def f(): 'Told.'", "async def f(): 'Told.'"])
def test_a_docstring_changes_nothing(source: str) -> None:
    assert in_words(ast.parse(source)) == in_words(ast.parse(source.replace("Told", "Told again")))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("f(None)", "f()"),
        ("x = ''", "x = b''"),
        ("x = 1\n'Told.'", "x = 1\n'Told again.'"),
    ],
)
def test_what_runs_otherwise_is_told_otherwise(one: str, other: str) -> None:
    assert in_words(ast.parse(one)) != in_words(ast.parse(other))
