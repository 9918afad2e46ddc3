"""Where a result comes from: its source, its machine, its versions, when and by which command."""

import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

import jax

import al_jax

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "scikit-image",
    "SimpleITK",
    "distributed",
)


def versions() -> dict[str, str]:
    """What results depend on apart from the configuration; packages that are missing are left out.

    'device' is what computes.
    """
    found = {"al_jax": al_jax.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {**found, "device": jax.devices()[0].device_kind}


def machine() -> dict[str, str | int]:
    """What a time was measured on: cores that may be used, the processor, what computes."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(pathlib.Path("/proc/cpuinfo")),
        "device": jax.devices()[0].device_kind,
    }


def processor(table: pathlib.Path) -> str:
    """The host's processor with its family and model, as Linux tells it in `table`."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    name = found.get("model name") or platform.processor() or platform.machine()
    if "cpu family" not in found:
        return name
    return f"{name} (family {found['cpu family']} model {found.get('model', '?')})"


def source(folder: pathlib.Path | None = None) -> dict[str, Any]:
    """The commit of a clone, and whether its files differ from it; nothing of an installed wheel.

    Args:
      folder: in the clone; None is where this package lies.
    """
    folder = pathlib.Path(al_jax.__file__).parent if folder is None else folder

    def git(*words: str) -> str:
        call = ["git", "-C", str(folder), *words]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):  # in somebody else's clone
            return {}
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return {}


@functools.cache
def own_source() -> dict[str, Any]:
    """The `source` of this process: as it was when first asked for, not as it became meanwhile."""
    return source()


def record(began: datetime.datetime, **more: Any) -> dict[str, Any]:
    """When something began, in UTC, how many seconds it has taken, on what and from what source.

    What goes on after a stop counts from there. `more` is recorded as it is. Whoever takes long
    asks for `own_source` when beginning.
    """
    seconds = (datetime.datetime.now(datetime.UTC) - began).total_seconds()
    return {
        "started": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        **own_source(),
        "machine": machine(),
        **more,
    }


def recorded(path: pathlib.Path, result: dict[str, Any], made: dict[str, Any]) -> bytes:
    """A result as JSON with its record; where it is in `path` already, with the one it has there.

    A command that is repeated computes nothing, and took no time.
    """
    with contextlib.suppress(OSError, ValueError):
        before = json.loads(path.read_text())
        if {**before, "record": None} == {**json.loads(json.dumps(result)), "record": None}:
            return path.read_bytes()
    return (json.dumps({**result, "record": made}, indent=2) + "\n").encode()


def command() -> str:
    """The command as it was typed."""
    spec = sys.modules["__main__"].__spec__
    if spec is None:
        return shlex.join(sys.argv)
    name = spec.name.removesuffix(".__main__")
    return shlex.join(["python", "-m", name, *sys.argv[1:]])
