"""Kernels: features as compiled loops over one symbol's bars. Importing this module loads numba.

All kernels have one signature, so that the batch calls them on a whole history and the stream on the last few bars, a
set of them in a single step:

    kernel(x, p, out)
        x    float64[inputs, bars]    the inputs in the order the kernel names them; NaN where there is none
        p    float64[parameters]      the parameters in the order the kernel names them
        out  float64[outputs, bars]   filled with NaN beforehand; a kernel writes what it knows

A kernel may look at the bar it writes and at earlier ones, and nothing else. It must not add up from bar to bar what
it could add up anew in each window: a running sum keeps the rounding of bars long gone, so that a value would depend on
where the history begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np
from numba import types

from resources.errors import ConfigError

Function = Callable[[np.ndarray, np.ndarray, np.ndarray], None]

_MATRIX, _VECTOR = types.Array(types.float64, 2, "C"), types.Array(types.float64, 1, "C")
SIGNATURE = types.void(_MATRIX, _VECTOR, _MATRIX)

FIRST = "first_wanted"
"""A parameter of this name is no feature's: it is the first bar whose value is wanted, 0 in the batch, the last bar in
a stream. A kernel of many outputs may spare itself the bars before."""

inner = numba.njit(error_model="numpy")
"""Decorator of functions that kernels call: compiled with the kernel, division by zero gives infinity or NaN."""


@dataclass(frozen=True)
class Kernel:
    """A kernel's function, the columns it reads, the names of its parameters, and those of what it writes."""

    function: Function
    inputs: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("value",)

    @cached_property
    def compiled(self) -> Any:
        """The machine code, kept beside the source (or in the user's cache) from the first use on."""
        return _compiled(self.function)

    @property
    def pointer(self) -> Any:
        """The machine code as a value that compiled functions take, without compiling anything for it."""
        return _Pointer(self.compiled)

    def vector(self, parameters: Mapping[str, float]) -> np.ndarray:
        """The parameters as the function reads them. Raises ConfigError unless they are the ones it names."""
        if set(parameters) != set(self.parameters):
            name = self.function.__name__
            raise ConfigError(f"{name} takes the parameters {list(self.parameters)}, not {list(parameters)}")
        return np.array([float(parameters[name]) for name in self.parameters])


class _Pointer(types.WrapperAddressProtocol):
    """A function as numba's first-class type: of plain functions it would compile the list's `append` for each."""

    def __init__(self, dispatcher: Any) -> None:
        self._compiled = dispatcher.get_compile_result(SIGNATURE)

    def __wrapper_address__(self) -> int:
        address: int = self._compiled.library.get_pointer_to_function(self._compiled.fndesc.llvm_cfunc_wrapper_name)
        return address

    def signature(self) -> Any:
        return SIGNATURE


def kernel(
    inputs: Sequence[str], parameters: Sequence[str] = (), outputs: Sequence[str] = ("value",)
) -> Callable[[Function], Kernel]:
    """Make a kernel of a function.

    Example::

        @kernel(inputs=["adj_close"], parameters=["window"])
        def distance(x, p, out):
            close, window = x[0], int(p[0])
            for i in range(window - 1, close.size):
                out[0, i] = close[i] / close[i - window + 1 : i + 1].mean() - 1.0
    """
    return lambda function: Kernel(function, tuple(inputs), tuple(parameters), tuple(outputs))


@cache
def _compiled(function: Function) -> Any:
    """One dispatcher a function, whatever columns it reads: each one more costs a stream half a second to begin."""
    dispatcher = loop(error_model="numpy")(function)
    dispatcher.compile(SIGNATURE)
    return dispatcher


def loop(error_model: Literal["python", "numpy"] = "python") -> Callable[[Callable[..., Any]], Any]:
    """Decorator of compiled functions that Python calls, in any thread. Machine code is kept beside the source.

    It does two things more than numba's own cache. numba looks for changes in the function's own file only, and these
    call functions of this package's other files. And it numbers the machine codes of one function as they come, so
    that two processes that compile it at once for different arguments give both the same name: whoever reads them
    afterwards would run the code of other arguments. Here the name follows from the arguments.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            dispatcher: Any = numba.njit(cache=True, nogil=True, error_model=error_model)(function)
        except RuntimeError:  # typed in at a prompt: there is no file to keep it beside
            return numba.njit(nogil=True, error_model=error_model)(function)
        kept = dispatcher._cache._cache_file
        kept._source_stamp = (*kept._source_stamp, _sources())

        def save(key: Any, data: Any) -> None:
            name = kept._data_name(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:6], "big"))
            kept._save_data(name, data)
            kept._save_index({**kept._load_index(), key: name})

        kept.save = save
        return dispatcher

    return compiled


@cache
def _sources() -> str:
    """Changes with the source of any module of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
