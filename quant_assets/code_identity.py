"""One hash of a function, class or object: of what decides what it does, and of nothing else.

A name made of it must never be another thing's: what cannot be told apart raises. It goes through the thing itself, as
it is in memory, because that is what runs; and beside it through the source on the disk, as it is now, because worker
processes import that. Names of functions, words and layout do not count, and neither do installed packages but for
their versions.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import types
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel

from quant_assets.own_source import absolute, is_own, is_platform, node_on_disk, on_disk, version
from resources.errors import QuantError

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...))

_CALLED = (b"PLPYFN", b"PLPYUDF")
"""What stands before a Python function in polars' own writing of an expression."""


class CodeError(QuantError):
    """Code without a stable identity, because of something that it holds."""


class Identity:
    """Goes through a thing once; `of` gives its digest, the same in every process.

    What was gone through is kept by the object, so that nothing is gone through twice and cycles end.
    """

    def __init__(self) -> None:
        self._done: dict[int, str] = {}
        self._alive: list[Any] = []  # or another object might get the number of one that is gone
        self._open: list[int] = []
        self._trail: list[str] = []

    def of(self, value: Any, where: str = "") -> str:
        """The digest of a value. `where`: what it is to what holds it, for the error.

        Raises CodeError on what has no stable state: an open file, a lock, a generator.
        """
        if type(value) in _ATOMS:
            return digest(type(value).__name__, repr(value))
        number = id(value)
        if number in self._done:
            return self._done[number]
        if number in self._open:
            return digest("up", str(len(self._open) - self._open.index(number)))
        self._alive.append(value)
        self._open.append(number)
        self._trail.append(where)
        self._done[number] = self._parts(value)
        self._trail.pop()
        self._open.pop()
        return self._done[number]

    def _error(self, value: Any, why: str) -> CodeError:
        trail = " > ".join(part for part in self._trail if part) or "it"
        return CodeError(
            f"{trail}: {_name(type(value))} {why}, so the code that holds it has no identity to be kept under; give "
            "it numbers, texts, frames or arrays instead, and open or make the rest inside the function"
        )

    def _parts(self, value: Any) -> str:
        for kind, told in _KINDS.items():
            if isinstance(value, kind):
                return told(self, value)
        plain = _PLAIN.get(type(value))
        return self._object(value) if plain is None else plain(self, value)

    # ---- values

    def sequence(self, value: Any) -> str:
        if all(type(one) in _ATOMS for one in value):
            return digest(type(value).__name__, repr(list(value)))
        return digest(type(value).__name__, *(self.of(one) for one in value))

    def unordered(self, value: Any) -> str:
        return digest(type(value).__name__, *sorted(self.of(one) for one in value))

    def mapping(self, value: Any) -> str:
        return digest("dict", *(self.of(key) + self.of(one, str(key)) for key, one in value.items()))

    def array(self, value: np.ndarray) -> str:
        if value.dtype.hasobject:
            return digest("array", str(value.shape), self.of(value.tolist()))
        return digest("array", repr(value.dtype.descr), str(value.shape), value.tobytes())

    def frame(self, value: Any) -> str:
        from resources.lake import content_version

        collected = value.collect() if isinstance(value, pl.LazyFrame) else value
        whole = collected.to_frame() if isinstance(collected, pl.Series) else collected
        # Numbered, because a version leaves out columns of some names.
        columns = whole.rename({name: str(number) for number, name in enumerate(whole.columns)})
        return digest(type(value).__name__, repr(whole.schema), content_version(columns))

    def expression(self, value: pl.Expr) -> str:
        written = value.meta.serialize()
        if any(mark in written for mark in _CALLED):
            raise self._error(value, "calls a Python function")
        return digest("expression", written)

    def model(self, model: BaseModel) -> str:
        more = (_lasting(model, vars(model)), model.__pydantic_extra__, model.__pydantic_private__)
        return digest("model", self.of(type(model)), *(self.of(part) for part in more))

    def _object(self, value: Any) -> str:
        """By the Python function that it was compiled from or wraps; else by what it would be pickled as."""
        inner = getattr(value, "py_func", None) or getattr(value, "__wrapped__", None)
        if isinstance(inner, types.FunctionType):
            return digest(_name(type(value)), self.of(inner))
        try:
            known = copyreg.dispatch_table.get(type(value))
            reduced: Any = known(value) if known is not None else value.__reduce_ex__(4)
        except Exception as error:  # whatever it is: there is no state to go by
            raise self._error(value, f"has no state that can be told ({error})") from error
        if isinstance(reduced, str):  # found by its name alone
            return digest("named", str(getattr(value, "__module__", "")), reduced)
        made, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        state = _lasting(value, state) if isinstance(state, dict) else state
        parts = (made, arguments, state, list(items or ()), dict(pairs or ()))
        return digest("object", _name(type(value)), *(self.of(part) for part in parts))

    # ---- code

    def function(self, function: types.FunctionType) -> str:
        """What runs, what it was made with, and what it names; beside it, how it is written on the disk."""
        code = function.__code__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        held = [name + self._cell(cell, name) for name, cell in cells]
        if not is_own(function.__module__):
            return digest("function", _name(function), version(function.__module__), *held)
        made = [self.of(function.__defaults__, "a default"), self.of(function.__kwdefaults__, "a default")]
        made += [name + self.of(one, name) for name, one in sorted(vars(function).items())]
        return digest(
            "function",
            _instructions(code),
            *held,
            *made,
            *self._named(function),
            node_on_disk(function.__module__, function.__qualname__),
        )

    def code(self, code: types.CodeType) -> str:
        return _instructions(code)

    def _cell(self, cell: types.CellType, name: str) -> str:
        try:
            content = cell.cell_contents
        except ValueError:
            return "empty"
        return self.of(content, f"closes over {name}")

    def _named(self, function: types.FunctionType) -> Iterator[str]:
        """The globals that a function names, and the modules that it imports."""
        wanted = _attributes(function.__code__)
        for name in sorted(_globals(function.__code__) & function.__globals__.keys()):
            yield name
            yield self._reached(function.__globals__[name], name, wanted, is_platform(function.__module__))
        for name in sorted(_imports(function.__code__)):
            module = absolute(name, function.__globals__)
            yield module if isinstance(module, str) else self._reached(module, module.__name__, wanted, False)
            if is_own(name):
                yield from on_disk(name, wanted)

    def _reached(self, value: Any, name: str, wanted: frozenset[str], ours: bool) -> str:
        """What a function names: of a module, those parts of it that the function may mean by `wanted`.

        Of the platform's own functions (`ours`) the code counts and the constants: what else they name, such as a
        registry, is its own affair.
        """
        if isinstance(value, types.ModuleType):
            if not is_own(value.__name__):
                return digest("module", value.__name__, version(value.__name__))
            own = {one: part for one, part in vars(value).items() if one in wanted and part is not value}
            parts = (one + self._reached(part, f"{name}.{one}", wanted, ours) for one, part in sorted(own.items()))
            return digest("module", value.__name__, *parts, *(() if ours else on_disk(value.__name__)))
        if ours and not isinstance(value, (types.FunctionType, type, pl.Expr, *_ATOMS)):
            return _name(type(value))
        return self.of(value, f"names {name}")

    def kind(self, kind: type) -> str:
        if not is_own(kind.__module__):
            return digest("class", _name(kind), version(kind.__module__))
        counted = sorted((name, member) for name, member in vars(kind).items() if _counts(name, member))
        members = [name + self.of(member, f"{kind.__name__}.{name}") for name, member in counted]
        if issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items():
                told = (field.default, field.default_factory, repr(field.annotation), repr(field.metadata))
                members.append(name + self.of(told, f"{kind.__name__}.{name}"))
        bases = [self.of(base) for base in kind.__bases__]
        return digest("class", kind.__name__, *members, *bases, *on_disk(kind.__module__))

    def bound(self, method: types.MethodType) -> str:
        return digest("method", self.of(method.__func__), self.of(method.__self__, "its object"))

    def builtin(self, function: types.BuiltinFunctionType) -> str:
        owner = function.__self__
        bound = "" if owner is None or isinstance(owner, types.ModuleType) else self.of(owner, "its object")
        return digest("builtin", str(function.__module__), function.__qualname__, bound)

    def module(self, module: types.ModuleType) -> str:
        """One that is held as a value: all that lies in it may be meant."""
        if not is_own(module.__name__):
            return digest("module", module.__name__, version(module.__name__))
        own = {name: one for name, one in vars(module).items() if not name.startswith("__")}
        parts = (name + self._reached(one, name, frozenset(), True) for name, one in sorted(own.items()))
        return digest("module", module.__name__, *parts, *on_disk(module.__name__))

    def wrapping(self, value: Any) -> str:
        parts = (getattr(value, name, None) for name in ("fget", "fset", "fdel", "func", "__func__"))
        return digest(type(value).__name__, *(self.of(part) for part in parts))

    def slot(self, value: Any) -> str:
        return digest(type(value).__name__, value.__objclass__.__name__, value.__name__)


_KINDS: dict[Any, Callable[[Identity, Any], str]] = {
    types.FunctionType: Identity.function,
    types.MethodType: Identity.bound,
    types.BuiltinFunctionType: Identity.builtin,
    types.ModuleType: Identity.module,
    types.CodeType: Identity.code,
    (types.MemberDescriptorType, types.GetSetDescriptorType): Identity.slot,
    (types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType): Identity.slot,
    (property, classmethod, staticmethod, cached_property): Identity.wrapping,
    type: Identity.kind,
    BaseModel: Identity.model,
    np.ndarray: Identity.array,
    (pl.DataFrame, pl.LazyFrame, pl.Series): Identity.frame,
    pl.Expr: Identity.expression,
}

_PLAIN: dict[Any, Callable[[Identity, Any], str]] = {
    **dict.fromkeys((list, tuple), Identity.sequence),
    **dict.fromkeys((set, frozenset), Identity.unordered),
    **dict.fromkeys((dict, types.MappingProxyType), Identity.mapping),
}


def identity_of(thing: Any) -> str:
    """The digest of a thing, 24 digits. Raises CodeError on what has no stable state, or is nested too deeply."""
    try:
        return Identity().of(thing)[:24]
    except RecursionError as error:
        raise CodeError(f"{_name(type(thing))}: what it names is nested too deeply; pass numbers or texts") from error


def digest(*parts: str | bytes) -> str:
    """Of the parts, told apart from each other."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _counts(name: str, member: Any) -> bool:
    """Whether a class's member says what the class does: of names such as __init__ only what was written as one."""
    if name.startswith("__"):
        return isinstance(member, (types.FunctionType, classmethod, staticmethod, property))
    return name != "_abc_impl"


def _lasting(value: Any, state: dict[str, Any]) -> dict[str, Any]:
    """An object's attributes by name, without those that it only remembers having worked out."""
    return {
        name: one
        for name, one in sorted(state.items())
        if not isinstance(getattr(type(value), name, None), cached_property)
    }


@lru_cache(maxsize=4096)
def _instructions(code: types.CodeType) -> str:
    """What a function's code does: its instructions with what they name, without where they stand."""
    told = [
        (one.opname, _instructions(one.argval) if isinstance(one.argval, types.CodeType) else repr(_sorted(one.argval)))
        for one in dis.get_instructions(code)
    ]
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_varnames)
    return digest(repr(told), repr(shape), code.co_exceptiontable)


def _sorted(constant: Any) -> Any:
    """A set among the constants stands in another order in every process."""
    return sorted(constant, key=repr) if isinstance(constant, frozenset) else constant


def _inside(code: types.CodeType) -> Iterator[dis.Instruction]:
    """The instructions of a code, and of those of the functions made in it."""
    for one in dis.get_instructions(code):
        yield one
        if isinstance(one.argval, types.CodeType):
            yield from _inside(one.argval)


def _globals(code: types.CodeType) -> set[str]:
    return {one.argval for one in _inside(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def _imports(code: types.CodeType) -> set[str]:
    return {one.argval for one in _inside(code) if one.opname == "IMPORT_NAME"}


@lru_cache(maxsize=4096)
def _attributes(code: types.CodeType) -> frozenset[str]:
    """Names that may be a module's parts."""
    names = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
    return frozenset(one.argval for one in _inside(code) if one.opname in names)
