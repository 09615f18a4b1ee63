"""Code versions from the definitions themselves: what computes an asset, not when it was edited."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import pkgutil
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from quant_assets.own_source import in_words


def code_version(*parts: Any) -> str:
    """Short hash of modules, functions, classes, settings and plain values.

    Source counts by its syntax tree without docstrings, so that comments and layout change nothing.
    """
    digest = hashlib.blake2b(digest_size=6)
    for part in parts:
        digest.update(_text(part).encode())
    return digest.hexdigest()


def code_of(thing: Any) -> str:
    """Hash of what decides what a function, a class or a callable object does, the same in every process.

    A function's instructions, without docstrings, names and layout; its closure, defaults and attributes; the globals
    that it names, and so on through functions, classes and objects of the user's own; what a method is bound to, and
    the arguments of a partial. Of classes also the source of their modules, as it lies on the disk, and of the user's
    modules that these import. Python's own modules count by name, installed packages by version, and what every
    strategy stands on (own_source.FRAME) not at all. What code reads as it runs, such as a file, is not known.

    Raises CodeError, naming it, on something held that has no state to be told apart by: an open file, a lock.

    Example: `code_of(lambda entry: DonchianBreakout(entry=entry, exit=20, patience=patience))`
    """
    from quant_assets.code_identity import identity_of

    return identity_of(thing)


def modules_of(package: ModuleType) -> list[ModuleType]:
    """The modules that lie in a package, by name, without those of packages inside it: for a code version."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def _text(part: Any) -> str:
    if isinstance(part, BaseModel):
        return part.model_dump_json()
    if isinstance(part, ModuleType):
        return _dumped(inspect.getsource(part))  # read each time: a module that is edited stays the same object
    if inspect.isroutine(part) or inspect.isclass(part):
        return _tree(part)  # type: ignore[arg-type]  # all of these can be hashed
    return repr(part)


@cache  # many features share a function, and reading its source takes a millisecond
def _tree(part: Any) -> str:
    return _dumped(inspect.cleandoc("\n" + inspect.getsource(part)))


@lru_cache(maxsize=1024)
def _dumped(source: str) -> str:
    return in_words(ast.parse(source))
