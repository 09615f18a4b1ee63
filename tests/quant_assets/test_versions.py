"""A code version changes with what is computed, and with nothing else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from quant_assets.partitions import SETTINGS
from quant_assets.versions import code_version

BASE = '''
"""A module."""
WINDOW = 20

def ratio(price, window=WINDOW):
    """Price over its mean."""
    return price / mean(price, window)
'''

SAME = [
    ("a comment", lambda text: text.replace("return", "# why\n    return")),
    ("a docstring", lambda text: text.replace("Price over its mean.", "The price, over its mean.")),
    ("the module's docstring", lambda text: text.replace("A module.", "Another word.")),
    ("layout", lambda text: text.replace("price / mean(price, window)", "(price /\n            mean(price, window))")),
]
OTHER = [
    ("a constant", lambda text: text.replace("20", "21")),
    ("an operator", lambda text: text.replace("price / mean", "price - mean")),
    ("a default", lambda text: text.replace("window=WINDOW", "window=5")),
    ("a new line of code", lambda text: text.replace("return", "price = price + 1\n    return")),
]


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], ModuleType]:
    def make(text: str) -> ModuleType:
        name = f"versioned_{abs(hash(text))}"
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[name] = made
        spec.loader.exec_module(made)
        return made

    return make


@pytest.mark.parametrize("edit", [case[1] for case in SAME], ids=[case[0] for case in SAME])
def test_words_and_layout_change_nothing(module: Callable[[str], ModuleType], edit: Callable[[str], str]) -> None:
    assert edit(BASE) != BASE
    assert code_version(module(edit(BASE))) == code_version(module(BASE))


@pytest.mark.parametrize("edit", [case[1] for case in OTHER], ids=[case[0] for case in OTHER])
def test_what_is_computed_changes_it(module: Callable[[str], ModuleType], edit: Callable[[str], str]) -> None:
    assert code_version(module(edit(BASE))) != code_version(module(BASE))


def test_functions_and_classes_inside_others() -> None:
    def one(x: int) -> int:
        return x + 1

    def two(x: int) -> int:
        return x + 2

    assert code_version(one) == code_version(one)
    assert code_version(one) != code_version(two)


SETTINGS_CHANGES: list[tuple[str, Any]] = [("trees", 6), ("seed", 8), ("train_years", 2)]


@pytest.mark.parametrize(("field", "value"), SETTINGS_CHANGES)
def test_settings_count(field: str, value: Any) -> None:
    changed = SETTINGS.model.model_copy(update={field: value})
    assert code_version(changed) != code_version(SETTINGS.model)
    assert code_version(SETTINGS.model.model_copy()) == code_version(SETTINGS.model)


def test_order_and_plain_values_count() -> None:
    assert code_version("a", "b") != code_version("b", "a")
    assert code_version(5) != code_version(6)
    assert len(code_version("a")) == 12
