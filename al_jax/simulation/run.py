"""Simulations by one call: arrays in, a table out, no files."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from al_jax.core.losses import Loss
from al_jax.core.stack import Stack
from al_jax.core.strategies import Strategy, strategy_of
from al_jax.learner.config import DEFAULT, Config
from al_jax.model.training import TrainState
from al_jax.simulation.loop import Record
from al_jax.simulation.prepare import prepare, wanted_fields, with_fields
from al_jax.simulation.progress import Progress
from al_jax.simulation.runner import run_strategy, silent, train_network
from al_jax.xla import use_compilation_cache

Table = dict[str, np.ndarray]
"""Columns of one length by name, as `pandas.DataFrame` takes them."""


def run(
    stack: Stack,
    strategies: Iterable[str] | Mapping[str, Strategy] = ("BDa", "Rand"),
    *,
    seeds: Iterable[int] = (0,),
    config: Config = DEFAULT,
    target_dice: float = 0.95,
    max_effort: float = 1.0,
    progress: bool = True,
) -> Table:
    """Simulates the annotation of a stack by several strategies from several seeds.

    Under one seed all strategies share their start and, if they share the loss, their network.
    Compiled programs are kept on the disk for the next process.

    Args:
      stack: with the truth of every section.
      strategies: names in `STRATEGIES` (or one), or any strategies by a name.
      seeds: of all randomness.
      config: all settings.
      target_dice, max_effort: fractions at which a run stops.
      progress: shows bars.

    Returns:
      A row per step of each run; step 0 is the start, whose section and structure are -1 and ''.
      Efforts and Dice are fractions, lengths pixels.

    Raises:
      InputError: the stack has no outline, or a loss is not finite.
      ValueError: there is no strategy of a name.

    Example:
      table = al_jax.run(al_jax.load_default(), ["BDa", "Rand"], seeds=range(3))
      pandas.DataFrame(table).groupby(["strategy", "seed"]).last()
    """
    use_compilation_cache()
    if isinstance(strategies, str):
        strategies = (strategies,)
    if not isinstance(strategies, Mapping):
        strategies = {name: strategy_of(name) for name in strategies}
    rows: list[Table] = []
    fields = wanted_fields(stack, config, strategies.values())
    for seed in seeds:
        prepared = prepare(jax.random.key(seed), stack, config)
        prepared = with_fields(prepared, fields)
        networks: dict[Loss, TrainState] = {}
        for name, strategy in strategies.items():
            if strategy.loss not in networks:
                with _bar("network", progress) as show:
                    networks[strategy.loss] = train_network(
                        prepared, config, strategy.loss, show=show
                    )
            with _bar(name, progress) as show:
                records = run_strategy(
                    strategy,
                    prepared,
                    networks[strategy.loss],
                    config,
                    target_dice=target_dice,
                    max_effort=max_effort,
                    show=show,
                )[1]
            rows.append(_rows(records, name, seed, stack))
    if not rows:
        return {}
    return {column: np.concatenate([part[column] for part in rows]) for column in rows[0]}


@contextlib.contextmanager
def _bar(name: str, progress: bool) -> Any:
    if not progress:
        yield silent
        return
    with Progress(name) as bar:
        yield bar.show


def _rows(records: Record, name: str, seed: int, stack: Stack) -> Table:
    steps = len(records.dice)
    names = np.array([*stack.names, ""])  # the last is that of -1
    numbers = ("predicted_dice", "predicted_length", "length", "drawn", "loss")
    efforts = ("effort_unique", "effort_whole", "dice", "dice_unclamped")
    return {
        "strategy": np.full(steps, name),
        "seed": np.full(steps, seed),
        "step": np.arange(steps),
        "section": np.asarray(records.section),
        "structure": names[np.asarray(records.structure)],
        **{column: np.asarray(getattr(records, column)) for column in (*numbers, *efforts)},
    }
