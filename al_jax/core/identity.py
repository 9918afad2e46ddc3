"""Objects named by their source: an edited strategy, network or loss is another one."""

import ast
import dataclasses
import functools
import hashlib
import inspect
import textwrap
import types
from typing import Any


def source_digest(thing: Any) -> str:
    """Names an object by what its code says, comments and docstrings apart; 16 hexadecimal digits.

    Of a function that is its source and that of the functions, classes and constants of the same
    file which it uses; of a class its source; of an instance of a dataclass (a `Strategy`, a flax
    module) its class and its fields; of a `functools.partial` all its parts.
    """
    parts: dict[int, str] = {}
    _describe(thing, parts)
    return hashlib.sha256("\n".join(parts.values()).encode()).hexdigest()[:16]


def _describe(thing: Any, parts: dict[int, str]) -> None:
    if id(thing) in parts:
        return
    if isinstance(thing, functools.partial):
        parts[id(thing)] = "partial"
        for part in (thing.func, *thing.args, *sorted(thing.keywords), *thing.keywords.values()):
            _describe(part, parts)
    elif inspect.isfunction(thing) or inspect.isclass(thing):
        parts[id(thing)] = _source(thing)
        for other in _used(thing):
            _describe(other, parts)
    elif inspect.ismethod(thing):
        parts[id(thing)] = "method"
        _describe(thing.__func__, parts)
        _describe(thing.__self__, parts)
    elif dataclasses.is_dataclass(thing):
        parts[id(thing)] = "instance"
        _describe(type(thing), parts)
        for field in dataclasses.fields(thing):
            if field.name not in ("parent", "name"):  # of a flax module
                _describe(getattr(thing, field.name), parts)
    elif callable(thing):  # of a compiled library, or wrapped by jax.jit
        wrapped = getattr(thing, "__wrapped__", None)
        parts[id(thing)] = getattr(thing, "__qualname__", repr(type(thing)))
        if wrapped is not None:
            _describe(wrapped, parts)
    else:
        parts[id(thing)] = repr(thing)


def _source(thing: Any) -> str:
    """The source without comments, docstrings and layout; the bytecode where there is none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        code = getattr(thing, "__code__", None)
        return _bytecode(code) if code else getattr(thing, "__qualname__", type(thing).__name__)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _used(thing: Any) -> list[Any]:
    """What of the same file a function or class uses, and what a function closes over."""
    functions = [thing] if inspect.isfunction(thing) else []
    if inspect.isclass(thing):
        functions = [f for f in vars(thing).values() if inspect.isfunction(f)]
    found: list[Any] = []
    for function in functions:
        for name in sorted(_names(function.__code__)):
            value = function.__globals__.get(name)
            own = callable(value) and getattr(value, "__module__", None) == function.__module__
            constant = isinstance(value, int | float | str | tuple | dict | list)
            if own or (constant and " at 0x" not in repr(value)):
                found.append(value)
        found += [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
        found += [value for value in function.__defaults__ or ()]
    return found


def _names(code: types.CodeType) -> set[str]:
    """The globals and attributes that a function names, in functions within it too."""
    within = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, within))


def _bytecode(code: types.CodeType) -> str:
    plain = [const for const in code.co_consts if not isinstance(const, types.CodeType)]
    within = [_bytecode(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return repr((code.co_code.hex(), plain, code.co_names, within))


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
