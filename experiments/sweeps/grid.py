"""The grid of a sweep: from flags and a TOML file to the flags of every run."""

import copy
import functools
import itertools
import pathlib
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from al_jax.commands import command, processes, simulate, stack_flags
from al_jax.commands.plugins import absolute
from al_jax.core.stack import InputError
from al_jax.files.reading import full_path
from al_jax.files.texts import read_text
from al_jax.learner.config import DEFAULT, changed

FLAGS = flags.FLAGS
# Flags that do not affect results.
WITHOUT_EFFECT = ("plugin", "workdir", "checkpoint_seconds", "devices", *processes.NAMES)
FILES = stack_flags.FILE_FLAGS  # stacks are npz here


@functools.cache
def flags_of_a_run() -> flags.FlagValues:
    """The flags of `experiments.simulate`, apart from those of this command."""
    before = set(FLAGS)
    simulate.define_flags()
    values = flags.FlagValues()
    for name in [name for name in FLAGS if name not in before]:
        flag = FLAGS[name]
        delattr(FLAGS, name)
        values[name] = flag
    return values


def lists() -> list[str]:
    """The flags that take a list: those that affect a run's results."""
    return [name for name in flags_of_a_run() if name not in (*WITHOUT_EFFECT, *FILES)]


def read_grids(path: str | None, given: dict[str, list[str]]) -> list[dict[str, list[str]]]:
    """The grids of a TOML file, each as values by flag; what is `given` overrides the file.

    Raises:
      InputError: the file is unreadable, or a key or value is none of the flags'.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(read_text(path, "a TOML file"))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: cannot be read ({error}); correct it") from error
    tables = content.pop("grid", [{}])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: 'grid' is no table; begin each grid with [[grid]]")
    known, single = lists(), flags_of_a_run()
    grids = []
    for table in tables:
        merged = content | table
        for key in merged:
            if key not in known:
                raise InputError(f"{path}: '{key}' is no setting; use {', '.join(known)}")
        usual = {"strategies": list(single["strategies"].default or [])}
        own = {key: _texts(path, key, value) for key, value in merged.items()}
        grids.append(usual | own | given)
    for grid in grids:
        for key, values in grid.items():
            where = "" if key in given else f"{path}: "
            if not values:
                raise InputError(f"{where}--{key} is empty; give at least one value")
            for value in values:
                try:
                    _parse(single, [f"--{key}={value}"])
                    if key == "strategies":
                        simulate.check_strategies([value])
                    if key in ("network", "augmentation"):
                        changed(DEFAULT, {key: value})
                except (InputError, ValueError, flags.Error) as error:
                    raise InputError(f"{where}{error}") from error
    return grids


def _texts(path: str | None, key: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise InputError(f"{path}: '{key}' is neither a value nor a list of values")
    return [str(item) for item in values]


def _parse(single: flags.FlagValues, arguments: list[str]) -> flags.FlagValues:
    values = copy.deepcopy(single)
    values(["simulate", *arguments])
    command.check_finite(values)
    return values


def points(grids: list[dict[str, list[str]]]) -> Iterator[flags.FlagValues]:
    """The flags of every run of the grids: one object a grid, whose values change."""
    for grid in grids:
        single = flags_of_a_run()
        values = _parse(single, [f"--{key}={texts[0]}" for key, texts in grid.items()])
        parsed = [
            [_parse(single, [f"--{key}={text}"])[key].value for text in texts]
            for key, texts in grid.items()
        ]
        for chosen in itertools.product(*parsed):
            for key, value in zip(grid, chosen, strict=True):
                values[key].value = value
            yield values


def weights_file(values: flags.FlagValues) -> str | None:
    """The absolute path of a run's weights, for workers that run elsewhere."""
    return None if values.weights is None else str(full_path(values.weights).absolute())


def earlier_paths(values: flags.FlagValues) -> tuple[str, ...]:
    """The absolute paths in `--from`, where `{stack}` stands for the stack's own name."""
    name = "colin27" if values.stack is None else pathlib.Path(values.stack).stem
    given = values["from"].value or ()
    return tuple(str(full_path(path.replace("{stack}", name)).absolute()) for path in given)


def arguments(values: flags.FlagValues, plugins: Sequence[str] = ()) -> list[str]:
    """The flags that repeat a run from within its folder."""
    given = {name: values[name].value for name in lists() if values[name].present}
    given |= {"stack": "stack.npz", "strategies": values.strategies[0]}
    if (weights := weights_file(values)) is not None:
        given["weights"] = weights
    if earlier := earlier_paths(values):
        given["from"] = ",".join(earlier)
    if plugins:
        given["plugin"] = ",".join(absolute(plugins))
    return [f"--{name}={value}" for name, value in given.items()]
