"""Plugins: modules or files whose import registers strategies, networks and more.

A plugin adds its objects to the tables of al_jax, under names that flags then accept:

    import al_jax
    al_jax.STRATEGIES["mine"] = al_jax.Strategy(gain, cost)
    al_jax.NETWORKS["unet"] = UNet
"""

import hashlib
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from al_jax.core.stack import InputError
from al_jax.core.strategies import OWN_STRATEGIES, STRATEGIES
from al_jax.files.reading import full_path
from al_jax.model.networks import NETWORKS, OWN_NETWORKS

_loaded: dict[str, str] = {}


def load_plugins(named: Sequence[str]) -> None:
    """Imports plugins, and imports a file again if it has changed since.

    Args:
      named: modules, or files that end in .py.

    Raises:
      InputError: there is none of that name, or it fails.
    """
    for name in named:
        try:
            if name.endswith(".py"):
                _load_file(full_path(name).absolute())
            else:
                importlib.import_module(name)
        except Exception as error:  # a plugin may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"--plugin={name}: cannot be loaded ({reason}); correct it") from error
    tables: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        (STRATEGIES, OWN_STRATEGIES),
        (NETWORKS, OWN_NETWORKS),
    )
    for table, own in tables:
        for name, thing in own.items():
            if table[name] is not thing:
                table[name] = thing
                raise InputError(f"--plugin: '{name}' is a name of al_jax; take another one")


def digests(named: Sequence[str]) -> dict[str, str]:
    """A digest of the file of each of these plugins, which are loaded; 16 hexadecimal digits."""
    files = [name if name.endswith(".py") else sys.modules[name].__file__ or "" for name in named]
    return {
        pathlib.Path(name).name: hashlib.sha256(full_path(file).read_bytes()).hexdigest()[:16]
        for name, file in zip(named, files, strict=True)
    }


def absolute(named: Sequence[str]) -> list[str]:
    """The same plugins with absolute paths, for workers that run elsewhere."""
    return [str(full_path(name).absolute()) if name.endswith(".py") else name for name in named]


def _load_file(path: pathlib.Path) -> None:
    source = path.read_bytes()
    content = hashlib.sha256(source).hexdigest()
    if _loaded.get(str(path)) == content:
        return
    # Of that name, so that its functions can be found again by the name of their module.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    if before is not None and getattr(before, "__file__", None) != str(path):
        raise ImportError(f"a module '{path.stem}' is there already; call the file otherwise")
    sys.modules[path.stem] = module
    try:
        # Not by the loader, which may use the bytecode of an older version of the file.
        exec(compile(source, path, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[path.stem]
        raise
    _loaded[str(path)] = content
