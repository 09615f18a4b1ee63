"""Compilation of the exchange's functions, in one place. Importing this module loads numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

P = ParamSpec("P")
T = TypeVar("T")


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """Compile for calls from other compiled functions only: without Python wrappers it takes two thirds of the time."""
    bare: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    result: Callable[P, T] = numba.njit(**bare)(function)
    return result


def cached(function: Callable[P, T]) -> Callable[P, T]:
    """Compile an entry point and keep the machine code beside the source (or in the user's cache).

    numba looks for changes in the file of the function itself only, so an entry point must have `sources()` in its
    closure, which then is part of the cache's key.
    """
    result: Callable[P, T] = numba.njit(cache=True)(function)
    return result


def sources() -> int:
    """A number that changes with the source of any module of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:6], "big")
