"""Pictures of many runs: mean curves, settings, structures, predicted lengths, growth.

Efforts and Dice are in %.
"""

import itertools
import os
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from al_jax.plotting import canvas
from al_jax.plotting.canvas import INK, LINES, PALE, literal

Band = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]
"""Efforts, middle, lower and upper Dice [G] each, and up to which effort no run had ended."""


def bands(
    panels: list[tuple[str, dict[str, Band]]],
    colours: dict[str, str],
    path: str | os.PathLike,
    target: float = 95.0,
) -> None:
    """Dice against effort with bands (the paper's Fig. 3).

    A line is dotted from where the first run behind it had ended, which then counts with its last
    Dice.

    Args:
      panels: (title, name -> its band), one below the other; all share their axes.
      colours: of the names.
      path: of the picture (`canvas.save`).
      target: Dice of the dashed line.
    """
    every = [band for _, lines in panels for band in lines.values()]
    left, right = min(b[0][0] for b in every), max(b[0][-1] for b in every)
    bottom = min(np.nanmin(b[2]) for b in every)
    figure, every_axes = _panels(panels, colours)
    for axes, (_, lines) in zip(every_axes, panels, strict=True):
        axes.set_xlim(left, max(right, left + 1))
        axes.set_ylim(max(0, min(bottom, target) - 3), 101)
        axes.axhline(target, color="#c0392b", linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        for order, (name, (effort, middle, low, high, solid)) in enumerate(lines.items()):
            colour, above = colours[name], 3 + (len(lines) - order) / 100
            whole = effort <= solid
            style: dict[str, Any] = {
                "where": "post",
                "color": colour,
                "linewidth": 1.8,
                "zorder": above,
            }
            for part, dash in ((whole, "-"), (np.append(~whole[1:], True), ":")):
                axes.step(effort, np.where(part, middle, np.nan), dash, **style)
            style = {"step": "post", "color": colour, "alpha": 0.13, "linewidth": 0, "zorder": 2}
            axes.fill_between(effort, low, high, **style)
        canvas.label_axes(axes, "Outlines traced (% of whole outlines)", "Dice (%)")
    canvas.save(figure, path)


def settings(
    panels: list[tuple[str, dict[str, tuple[list[float], list[float]]]]],
    values: list[str],
    key: str,
    colours: dict[str, str],
    path: str | os.PathLike,
) -> None:
    """Effort against the values of a setting, a line per method.

    Args:
      panels: (title, name -> means and standard deviations over stacks, NaN where there is none),
        one below the other.
      values: of the setting, as they are written below the axis.
      key: the setting's name.
      colours: of the names.
      path: of the picture (`canvas.save`).
    """
    figure, every_axes = _panels(panels, colours)
    for axes, (_, lines) in zip(every_axes, panels, strict=True):
        for order, (name, (means, stds)) in enumerate(lines.items()):
            aside = 0.06 * (order - (len(lines) - 1) / 2) / max(1, len(lines) / 4)
            style: dict[str, Any] = {"marker": "o", "markersize": 5, "linewidth": 1.5, "capsize": 3}
            places = np.arange(len(values)) + aside
            axes.errorbar(places, means, np.nan_to_num(stds), color=colours[name], **style)
        axes.set_xlim(-0.4, len(values) - 0.6)
        highest = np.nanmax([np.add(m, np.nan_to_num(s)) for m, s in lines.values()], initial=1)
        axes.set_ylim(0, 1.1 * highest)
        axes.set_xticks(range(len(values)), map(literal, values))
        canvas.label_axes(axes, key, "Effort (%)")
    canvas.save(figure, path)


def matrix(
    values: np.ndarray, rows: list[str], columns: list[str], path: str | os.PathLike
) -> None:
    """A table [R, C] of Dice in % as colours and numbers; NaN is left empty."""
    left, wide = 0.3 + 0.085 * max(map(canvas.columns, rows)), 0.72 * len(columns)
    page, high = left + wide + 0.6, 0.85 + 0.29 * len(rows)
    low = np.nanmin(values, initial=90) // 10 * 10
    figure = canvas.new_figure(page, high)
    axes = figure.add_axes((left / page, 0.05 / high, wide / page, 0.29 * len(rows) / high))
    axes.imshow(values, cmap="cividis", vmin=low, vmax=100, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = "white" if value < (low + 100) / 2 else "black"
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "color": ink}
            axes.text(column, row, f"{value:.1f}", **style)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(columns)), map(literal, columns), rotation=35, ha="left")
    axes.set_yticks(range(len(rows)), [literal(row) for row in rows])
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.spines[:].set_visible(False)
    canvas.save(figure, path)


def lengths(
    points: dict[str, tuple[np.ndarray, np.ndarray]],
    notes: dict[str, str],
    colours: dict[str, str],
    path: str | os.PathLike,
) -> None:
    """Actual against predicted outline of each answer, a panel per method, logarithmic.

    Args:
      points: name -> predicted and actual [n] pixels, all above 0, some in every panel.
      notes: a line for each panel.
      colours: of the names.
      path: of the picture (`canvas.save`).
    """
    across = min(2, len(points))
    down = -(-len(points) // across)
    wide, high = 0.2 + 3.7 * across, 3.9 * down
    figure = canvas.new_figure(wide, high)
    every = np.concatenate([axis for pair in points.values() for axis in pair])
    low, top = every.min() / 1.3, every.max() * 1.3
    for i, (name, (predicted, actual)) in enumerate(points.items()):
        row, column = divmod(i, across)
        place = (0.75 + 3.7 * column) / wide, (0.65 + 3.9 * (down - 1 - row)) / high
        axes = figure.add_axes((*place, 2.8 / wide, 2.8 / high))
        axes.loglog()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        axes.set_xlim(low, top)
        axes.set_ylim(low, top)
        axes.plot([low, top], [low, top], color=PALE, linewidth=1, zorder=1)
        axes.scatter(predicted, actual, s=9, color=colours[name], alpha=0.45, linewidths=0)
        axes.set_title(literal(f"{name}\n{notes[name]}"), fontsize=10, color=INK, loc="left")
        canvas.label_axes(axes, "Predicted (px)", "Actual (px)")
    canvas.save(figure, path)


def reliability(
    lines: dict[str, tuple[np.ndarray, np.ndarray]],
    colours: dict[str, str],
    path: str | os.PathLike,
) -> None:
    """Actual against expected Dice: what is well calibrated is on the diagonal.

    Args:
      lines: name -> expected and actual [n], means of bins, %.
      colours: of the names.
      path: of the picture (`canvas.save`).
    """
    figure, (axes,) = _panels([("", lines)], colours)
    axes.plot([0, 100], [0, 100], color=PALE, linewidth=1, zorder=1)
    for name, (expected, actual) in lines.items():
        axes.plot(expected, actual, "o-", color=colours[name], linewidth=1.5, markersize=5)
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 101)
    canvas.label_axes(axes, "Expected Dice (%)", "Actual Dice (%)")
    canvas.save(figure, path)


def progress(outline: np.ndarray, dice: np.ndarray, path: str | os.PathLike) -> None:
    """A learner's estimate of its Dice against the outline traced so far.

    Args:
      outline: [n] pixels, ascending.
      dice: [n] %, NaN where there is no estimate yet.
      path: of the picture (`canvas.save`).
    """
    figure = canvas.new_figure(7.2, 3.6)
    axes = figure.add_axes((0.1, 0.16, 0.87, 0.8))
    axes.step(outline, dice, where="post", color=LINES[0], linewidth=1.8)
    axes.plot(outline, dice, ".", color=LINES[0], markersize=4)
    axes.set_xlim(0, max(1.0, 1.03 * outline.max(initial=0)))
    axes.set_ylim(0, 101)
    canvas.label_axes(axes, "Outline traced (px)", "Mean Dice, as estimated (%)")
    canvas.save(figure, path)


def efforts(
    rows: list[tuple[str, list[tuple[float, float, bool]]]],
    targets: list[int],
    path: str | os.PathLike,
) -> None:
    """Effort at two Dice of several ways to work, a row each (the paper's Tables 4 and 5).

    Args:
      rows: name, and for each target the mean effort, its standard deviation (NaN: none), and
        whether the mean is only a lower bound.
      targets: two Dice, %; dots of the first are filled.
      path: of the picture (`canvas.save`).
    """
    looks = ((LINES[0], LINES[0], 0.12), (LINES[1], "white", -0.12))  # line, dot, place in its row
    height = 0.9 + 0.42 * len(rows)
    bottom = 0.62 / height
    figure = canvas.new_figure(7.6, height)
    axes = figure.add_axes((0.33, bottom, 0.64, 0.97 - bottom))
    for place, (_, values) in enumerate(reversed(rows)):
        for (mean, std, bound), (colour, dot, aside) in zip(values, looks, strict=True):
            y, spread = place + aside, np.nan_to_num(std)
            style: dict[str, Any] = {
                "marker": "o",
                "markersize": 6,
                "markerfacecolor": dot,
                "linewidth": 1.2,
            }
            axes.errorbar([mean], [y], xerr=[spread], color=colour, capsize=2.5, **style)
            style = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": colour}
            text = f"{'≥ ' * bound}{mean:.1f}"
            axes.annotate(text, (mean + spread, y), xytext=(5, 0), **style)
    axes.set_yticks(range(len(rows)), [literal(name) for name, _ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    ends = [mean + np.nan_to_num(std) for _, values in rows for mean, std, _ in values]
    axes.set_xlim(0, 1.12 * max(ends))
    marks = {
        f"{target}% Dice": Line2D([], [], color=colour, marker="o", markerfacecolor=dot)
        for target, (colour, dot, _) in zip(targets, looks, strict=True)
    }
    canvas.legend(axes, marks, size=9, loc="upper right", frameon=False)
    canvas.label_axes(axes, "Outline drawn (% of whole outlines)", "")
    canvas.save(figure, path)


def growth(
    panels: dict[str, tuple[list[int], dict[str, list[float]], dict[str, list[float]]]],
    path: str | os.PathLike,
) -> None:
    """Seconds above and memory below against the sizes of stacks, logarithmic.

    Args:
      panels: what grows -> its values, then seconds and MiB by name, a number for each value.
      path: of the picture (`canvas.save`).
    """
    across, each, high = len(panels), 3.9, 7.6
    wide = each * across + 0.3
    figure = canvas.new_figure(wide, high)
    for column, (name, (values, *rows)) in enumerate(panels.items()):
        for row, (lines, unit) in enumerate(zip(rows, ("Seconds", "MiB"), strict=True)):
            place = ((each * column + 0.85) / wide, (4.6, 0.95)[row] / high)
            axes = figure.add_axes((*place, (each - 1.05) / wide, 2.75 / high))
            axes.loglog()
            for (label, heights), colour in zip(lines.items(), LINES, strict=False):
                axes.plot(values, heights, "o-", color=colour, label=label, markersize=4)
            # A slope to hold the lines against.
            first = max(heights[0] for heights in lines.values())
            axes.plot(values, [first * v / values[0] for v in values], ":", color=PALE, zorder=1)
            axes.set_xticks(values, [f"{value:,}" for value in values])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
            canvas.label_axes(axes, name.capitalize(), unit)
            if column == 0:
                handles = {str(line.get_label()): line for line in axes.get_lines()[:-1]}
                handles |= {"linear": Line2D([], [], color=PALE, linestyle=":")}
                style: dict[str, Any] = {
                    "loc": "lower center",
                    "bbox_to_anchor": (0.5, (3.78, 0.02)[row] / high),
                }
                canvas.legend(figure, handles, size=9.5, ncols=6, frameon=False, **style)
    canvas.save(figure, path)


def method_colours(order: tuple[str, ...], names: list[str]) -> dict[str, str]:
    """A colour per name, the same in every picture: by its place in `order`, others after it.

    Where there are more names than colours all but the first one come again.
    """
    colours = itertools.chain(LINES, itertools.cycle(LINES[1:]))
    everyone = [*order, *(name for name in names if name not in order)]
    found = dict(zip(everyone, colours, strict=False))
    return {name: found[name] for name in names}


def _panels(
    panels: list[tuple[str, dict[str, Any]]], colours: dict[str, str]
) -> tuple[Figure, list[Axes]]:
    """Panels one below the other, a title above and a legend below each."""
    each, room, height = 4.4, 1.25, 4.4 * len(panels)
    figure, found = canvas.new_figure(7.2, height), []
    style: dict[str, Any] = {
        "loc": "upper center",
        "bbox_to_anchor": (0.47, -0.16),
        "handlelength": 1.3,
    }
    for i, (title, lines) in enumerate(panels, 1):
        bottom = (room + each * (len(panels) - i)) / height
        axes = figure.add_axes((0.1, bottom, 0.87, (each - room - 0.35) / height))
        entries = {name: Line2D([], [], color=colours[name], linewidth=2.2) for name in lines}
        canvas.legend(axes, entries, 9.5, ncols=6, frameon=False, columnspacing=1.2, **style)
        axes.set_title(literal(title), fontsize=11, color=INK, loc="left")
        found.append(axes)
    return figure, found
