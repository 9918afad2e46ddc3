"""The results and the configuration of a run, for single runs and for sweeps."""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from al_jax.core.identity import source_digest
from al_jax.core.stack import Images, Stack
from al_jax.core.statistics import effort_at
from al_jax.core.strategies import OWN_STRATEGIES, STRATEGIES
from al_jax.files.spreadsheets import table
from al_jax.learner.config import Config, to_json
from al_jax.learner.transfer import Experience
from al_jax.simulation.loop import Record
from al_jax.simulation.surfaces import pixel_size, stack_surfaces

TARGETS = (0.8, 0.9, 0.95)


def digest(*arrays: np.ndarray) -> str:
    """Names arrays by their content."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()[:16]


def digest_stack(stack: Stack) -> str:
    """Names a stack by its content."""
    return digest(stack.images, stack.inside, stack.truth, np.array(stack.names))


def digest_weights(weights: dict[str, np.ndarray] | None) -> str | None:
    """Names published weights by their content."""
    return None if weights is None else digest(*weights.values())


def digest_experience(earlier: Experience) -> str:
    """Names the experience of prior stacks by its content."""
    layers, weights = zip(*sorted(earlier.weights.items()), strict=True)
    words = (earlier.names, layers, (earlier.network, earlier.convention), earlier.class_layers)
    numbers = (earlier.lengths, earlier.offered, earlier.dice, np.array(earlier.downsampling))
    return digest(*map(np.array, words), *weights, *numbers)


def contents(stack: Images) -> dict[str, list[str]]:
    """A stack in results: the names of its sections in order, and of its classes."""
    return {"section_names": list(stack.sections), "classes": list(stack.names)}


def about_strategy(name: str) -> dict[str, Any]:
    """A strategy in a run's configuration."""
    strategy = STRATEGIES[name]
    more = ["dropout"] if strategy.dropout else []
    if strategy.draw is not None and strategy not in OWN_STRATEGIES.values():
        more.append("dice")  # which breaks its ties
    return {
        "strategy": name,
        "strategy_digest": source_digest(strategy),
        "strategy_reads": [*strategy.reads, *more],
    }


def describe(
    stack: str, weights: str | None, chosen: dict[str, Any], config: Config
) -> dict[str, Any]:
    """The configuration of a run as plain JSON.

    Args:
      stack, weights: their digests.
      chosen: what else shapes the run, by name.
      config: its settings.
    """
    settings = {"stack": stack, "weights": weights, **chosen, **to_json(config)}
    return json.loads(json.dumps(settings))


def table_of_queries(records_of: dict[str, Record], stack: Images) -> bytes:
    """queries.csv: a row per strategy and step; step 0 is the start.

    Numbers have all digits of a float32, so that comparisons with a target give the same result.
    """
    rows = [
        _row(strategy, step, jax.tree.map(lambda leaf, step=step: leaf[step], records), px, stack)
        for strategy, records in records_of.items()
        for step, px in enumerate(np.cumsum(records.drawn, dtype=np.float64))
    ]
    return table([[column for column, _ in rows[0]], *([cell for _, cell in row] for row in rows)])


def _row(
    strategy: str, step: int, record: Record, drawn_px: float, stack: Images
) -> list[tuple[str, Any]]:
    """Columns and cells of queries.csv; what the start does not have is empty."""
    # Pairs, as the name of a class ('unclamped') may give two columns the same name.

    def figure(value: float) -> str:
        return "" if np.isnan(value) else f"{float(value):.9g}"

    def by_class(prefix: str, values: np.ndarray) -> list[tuple[str, str]]:
        pairs = zip(stack.names, values, strict=True)
        return [(f"{prefix}_{name}", figure(value)) for name, value in pairs]

    asked = step > 0
    return [
        ("strategy", strategy),
        ("step", step),
        ("section", int(record.section) if asked else ""),
        ("section_name", stack.sections[record.section] if asked else ""),
        ("structure", stack.names[record.structure] if asked else ""),
        ("predicted_dice", figure(record.predicted_dice)),
        ("predicted_length", figure(record.predicted_length)),
        ("actual_length", figure(record.length)),
        ("drawn_length", figure(record.drawn)),
        ("effort_px", f"{drawn_px:.9g}"),
        ("effort_percent", figure(100 * float(record.effort_unique))),
        ("effort_own_percent", figure(100 * float(record.effort_whole))),
        ("dice", figure(record.dice)),
        ("dice_unclamped", figure(record.dice_unclamped)),
        *by_class("dice", record.class_dice),
        *by_class("dice_unclamped", record.class_dice_unclamped),
    ]


def table_of_surfaces(segmentations: dict[str, np.ndarray], stack: Stack) -> bytes:
    """surfaces.csv: a row per strategy and structure, of the segmentation with which it ended.

    Args:
      segmentations: of each strategy, [N, H, W] classes.
      stack: with the truth; in mm, too, if it lies in a volume.
    """
    units = {"px": (1.0, 1.0), "mm": pixel_size(stack.place)}
    rows: list[list[Any]] = []
    for strategy, segmentation in segmentations.items():
        found = {
            unit: stack_surfaces(segmentation, stack, pixel)
            for unit, pixel in units.items()
            if pixel is not None
        }
        for c, name in enumerate(stack.names):
            row = [strategy, name, int(found["px"].sections[c]), int(found["px"].missed[c])]
            for unit in units:
                own = (found[unit].hd95[c], found[unit].mean[c]) if unit in found else ()
                row += ["" if np.isnan(value) else f"{value:.6g}" for value in own] or ["", ""]
            rows.append(row)
    measures = [f"{measure}_{unit}" for unit in units for measure in ("hd95", "mean")]
    return table([["strategy", "structure", "sections", "missed", *measures], *rows])


def summarise(records: Record) -> dict[str, float | int | None]:
    """Efforts in % at the targets (None: not reached), of both kinds, and the end."""
    summary: dict[str, float | int | None] = {}
    for kind, effort in (("effort", records.effort_unique), ("effort_own", records.effort_whole)):
        summary[f"initial_{kind}"] = round(100 * float(effort[0]), 3)
        for target in TARGETS:
            reached = 100 * effort_at(effort, records.dice, target)
            name = f"{kind}_at_{100 * target:.0f}"
            summary[name] = None if np.isnan(reached) else round(reached, 6)
        summary[f"final_{kind}"] = round(100 * float(effort[-1]), 3)
    return summary | {
        "queries": len(records.dice) - 1,
        "final_dice": round(100 * float(records.dice[-1]), 3),
        "final_dice_unclamped": round(100 * float(records.dice_unclamped[-1]), 3),
    }
