"""Objects named by their source: an edited strategy, network or loss is another one."""

import ast
import dataclasses
import functools
import hashlib
import inspect
import pathlib
import re
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

_PLAIN = (int, float, complex, str, bytes, types.NoneType)


def source_digest(thing: Any) -> str:
    """A digest of an object's code, without comments and docstrings; 16 hexadecimal digits.

    Of a function that is its source, what it closes over, and what it uses of its file: functions,
    classes, constants; of a class the same of its methods, and its bases of that file; of an
    instance of a dataclass (a `Strategy`, a flax module) its class and its fields; of a
    `functools.partial` all its parts. The same in every process.
    """
    return hashlib.sha256(_describe(thing, {}).encode()).hexdigest()[:16]


def _describe(thing: Any, known: dict[int, str]) -> str:
    """A thing as text; `known` has a number for those that come again or contain themselves."""
    if isinstance(thing, _PLAIN):
        return repr(thing)
    if isinstance(thing, np.ndarray | np.generic | jax.Array):
        return _array(thing)
    if id(thing) in known:
        return known[id(thing)]
    known[id(thing)] = f"#{len(known)}"
    parts = [_describe(part, known) for part in _parts(thing)]
    if isinstance(thing, set | frozenset):
        parts.sort()
    if not (inspect.isfunction(thing) or inspect.isclass(thing)):
        del known[id(thing)]  # equal values may be one object, or several
    return f"{_kind(thing)}[{', '.join(parts)}]"


def _array(thing: Any) -> str:
    try:
        array = np.asarray(thing)
    except TypeError:  # random keys
        return repr(thing)
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def _kind(thing: Any) -> str:
    """The source of a function or a class; of anything else its type."""
    if inspect.isfunction(thing):
        return _source(thing.__code__, thing.__name__) or _bytecode(thing.__code__)
    if inspect.isclass(thing):
        return _source(thing) or thing.__qualname__  # type: ignore[arg-type]
    return type(thing).__qualname__


def _parts(thing: Any) -> list[Any]:
    """What a thing depends on apart from its own source."""
    if inspect.isfunction(thing):
        return _used(thing)
    if inspect.isclass(thing):
        bases = [base for base in thing.__bases__ if base.__module__ == thing.__module__]
        functions = list(_functions(thing))
        if not _source(thing):  # type: ignore[arg-type]
            return bases + functions
        # Those without a source were made by a decorator of the class.
        own = [function for function in functions if _source(function.__code__)]
        return bases + [part for function in own for part in _used(function)]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if inspect.ismethod(thing):
        return [thing.__func__, thing.__self__]
    if dataclasses.is_dataclass(thing):
        names = [f.name for f in dataclasses.fields(thing) if f.name != "parent"]  # of flax
        return [type(thing), *(getattr(thing, name) for name in names)]
    if isinstance(thing, dict):
        return [part for key in sorted(thing, key=repr) for part in (key, thing[key])]
    if isinstance(thing, tuple | list | set | frozenset):
        return list(thing)
    if isinstance(thing, types.CodeType):
        return [_bytecode(thing)]
    if hasattr(thing, "__wrapped__"):  # as by jax.jit
        return [thing.__wrapped__]
    if hasattr(thing, "__dict__") and not isinstance(thing, types.ModuleType):
        return [type(thing), vars(thing)]
    return [getattr(thing, "__qualname__", re.sub(" at 0x[0-9a-f]+", "", repr(thing)))]


@functools.cache
def _source(thing: Any, name: str = "") -> str:
    """The source without comments, docstrings and layout; nothing where there is none."""
    if name == "<lambda>":  # of which a line may have several
        return ""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _bytecode(code: types.CodeType) -> str:
    return f"{code.co_code.hex()} {_describe(code.co_consts, {})} {code.co_names}"


def _functions(kind: type) -> Iterator[types.FunctionType]:
    """The functions of a class, also those behind its properties."""
    for member in vars(kind).values():
        for name in ("__func__", "fget", "func"):
            member = getattr(member, name, member)
        if inspect.isfunction(member):
            yield inspect.unwrap(member)


def _used(function: types.FunctionType) -> list[Any]:
    """What a function closes over, its defaults, and what it uses of the user's own code."""
    found = [function.__defaults__, function.__kwdefaults__]
    found += [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
    names = _names(function.__code__)
    for name in sorted(names):
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType) and _is_own(value):
            found += [vars(value)[own] for own in sorted(names) if own in vars(value)]
        elif (
            _is_constant(value)
            or getattr(value, "__module__", None) == function.__module__
            or _is_own(sys.modules.get(getattr(value, "__module__", None) or ""))
        ):
            found.append(value)
    return found


def _is_own(module: types.ModuleType | None) -> bool:
    """A module of the user's: neither of al_jax, nor of Python, nor installed."""
    place = getattr(module, "__file__", None)
    if module is None or place is None or module.__name__.partition(".")[0] == "al_jax":
        return False
    paths = sysconfig.get_paths()
    libraries = (paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"])
    return not any(pathlib.Path(place).is_relative_to(library) for library in libraries)


def _is_constant(value: Any) -> bool:
    """Whether it is data, rather than a table of objects that plugins add to."""
    if isinstance(value, dict):
        return all(map(_is_constant, (*value, *value.values())))
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_is_constant, value))
    kinds = (*_PLAIN, np.ndarray, np.generic, jax.Array, functools.partial)
    return isinstance(value, kinds) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )


def _names(code: types.CodeType) -> set[str]:
    """The globals and attributes that a function names, in functions within it too."""
    within = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, within))


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
