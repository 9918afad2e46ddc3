"""From a grid to the units of a sweep; stacks are copied into its folder, named by content."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from al_jax.commands import config_flags, runs
from al_jax.commands.config_flags import read_config
from al_jax.commands.earlier import read_earlier
from al_jax.commands.plugins import absolute
from al_jax.core.identity import source_digest
from al_jax.core.losses import loss_label
from al_jax.core.settings import leaves
from al_jax.core.stack import InputError
from al_jax.core.strategies import STRATEGIES
from al_jax.files.stacks import load_default, read_stack, write_stack
from al_jax.files.weights import read_weights
from al_jax.learner.config import Config, changed
from experiments.sweeps import grid
from experiments.sweeps.identity import AFTERWARDS, digest
from experiments.sweeps.units import NetworkUnit, RefusedUnit, RunUnit, is_full, place_stack

COLIN27 = "colin27.npz"  # the name of the shipped stack

PlannedRun = RunUnit | RefusedUnit


def plan(
    workdir: pathlib.Path, grids: list[dict[str, list[str]]], plugins: Sequence[str] = ()
) -> list[PlannedRun]:
    """All runs of the grids, each once; stacks are written into `workdir`."""
    workdir = workdir.absolute()
    stack_of = functools.cache(functools.partial(copy_stack, workdir))
    weights_of = functools.cache(digest_weights)
    earlier_of = functools.cache(digest_earlier)
    planned: dict[str, PlannedRun] = {}
    for values in grid.points(grids):
        run = _plan_run(workdir, values, stack_of, weights_of, earlier_of, plugins)
        planned.setdefault(digest(run.configuration), run)
    return list(planned.values())


def copy_stack(workdir: pathlib.Path, path: str | None) -> tuple[pathlib.Path, int]:
    """A copy of a stack in the folder of the sweep, named by its content, and its sections.

    Without a path it is the shipped stack. A damaged copy is written again, also for the runs that
    have it under another name.
    """
    stack = load_default() if path is None else read_stack(path)
    copy = workdir / "stacks" / f"{runs.digest_stack(stack)}.npz"
    if not _is_intact(copy):
        try:
            copy.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{copy.parent}: {error.strerror}; choose another --workdir"
            ) from error
        names = workdir.glob("runs/*/stack.npz") if copy.exists() else ()
        damaged = [name for name in names if name.samefile(copy)]
        write_stack(copy, stack)
        for name in damaged:
            place_stack(copy, name.parent)
    return copy, stack.num_sections


def _is_intact(copy: pathlib.Path) -> bool:
    """Whether a copy is there and is the stack whose content names it."""
    try:
        return runs.digest_stack(read_stack(copy)) == copy.stem
    except InputError:
        return False


def digest_weights(path: str | None) -> tuple[str | None, str]:
    """Names weights by their content, and the convention of their input."""
    if path is None:
        return None, "plain"
    weights, convention = read_weights(path)
    return runs.digest_weights(weights), convention


def digest_earlier(paths: tuple[str, ...]) -> tuple[str, str]:
    """Names the experience of prior stacks by its content, and the convention of the input."""
    earlier = read_earlier(paths)
    assert earlier is not None
    return runs.digest_experience(earlier), earlier.convention


def _plan_run(
    workdir: pathlib.Path,
    values: flags.FlagValues,
    stack_of: Callable[[str | None], tuple[pathlib.Path, int]],
    weights_of: Callable[[str | None], tuple[str | None, str]],
    earlier_of: Callable[[tuple[str, ...]], tuple[str, str]],
    plugins: Sequence[str],
) -> PlannedRun:
    strategy, path = values.strategies[0], values.stack
    chosen = {k: values[k].value for k in ("seed", "target_dice", "max_effort")}
    chosen |= runs.about_strategy(strategy)
    try:
        stack, sections = stack_of(path)
        weights, convention = weights_of(values.weights)
        earlier = grid.earlier_paths(values)
        if earlier and weights:
            raise InputError("--weights and --from both name a network's weights; leave one out")
        if earlier:
            chosen["from"], convention = earlier_of(earlier)
    except InputError as error:
        if is_full(error):
            raise
        # It cannot be named by the content of files that cannot be read.
        config = read_config("plain", 1, values)
        configuration = runs.describe(str(path), values.weights, chosen, config)
        folder = str(workdir / "runs" / digest(configuration))
        return RefusedUnit(folder, configuration, str(error))
    config = read_config(convention, sections, values, warm=bool(earlier))
    configuration = runs.describe(stack.stem, weights, chosen, config)
    loss = STRATEGIES[strategy].loss
    trained = {"seed": values.seed, "loss": loss_label(loss), "loss_digest": source_digest(loss)}
    if earlier:
        trained["from"] = chosen["from"]
    network = runs.describe(stack.stem, weights, trained, initial_config(config))
    network_otherwise: dict[str, Any] = {}
    otherwise: dict[str, Any] = {}
    if earlier:  # a worker checks whether the stack fits them, as that needs a device
        scratch = read_config("plain", sections, values)
        network_otherwise = runs.describe(stack.stem, weights, trained, initial_config(scratch))
        otherwise = runs.describe(stack.stem, weights, chosen, scratch)
    return RunUnit(
        folder=_folder(workdir / "runs", configuration),
        configuration=configuration,
        name=COLIN27 if path is None else pathlib.Path(path).name,
        arguments=grid.arguments(values, plugins),
        network=NetworkUnit(
            _folder(workdir / "networks", network),
            network,
            str(stack),
            grid.weights_file(values),
            strategy,
            absolute(plugins),
            list(earlier),
            network_otherwise,
        ),
        otherwise=otherwise,
    )


def initial_config(config: Config) -> Config:
    """The settings on which the initial network depends; the others at their defaults."""
    usual = {field.name: value for field, value in leaves(Config())}
    # Settings of the annotator that affect the start.
    shaping = ("outline_noise", "range_errors", "start")
    others = [name for name in config_flags.ANNOTATOR if name not in shaping]
    return changed(config, {name: usual[name] for name in (*AFTERWARDS, *others)})


def _folder(parent: pathlib.Path, configuration: dict[str, Any]) -> str:
    return str(parent / digest(configuration))
