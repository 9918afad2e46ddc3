"""Pictures of a run: Dice against effort, and what had been traced on which section."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from al_jax.core.colours import class_colours
from al_jax.core.stack import Images, Stack, evenly_spaced
from al_jax.core.statistics import effort_at
from al_jax.plotting import canvas
from al_jax.plotting.canvas import INK, LINES, PALE, literal

HALO = [withStroke(linewidth=2.2, foreground="white")]

EFFORTS = {
    "effort_percent": "Outline traced (% of all outlines, each once)",
    "effort_own_percent": "Structures traced (% of whole outlines)",
}
TRACED = 0.7  # how much of a traced pixel is its class' colour
DARK = 0.05  # brightness of what counts as empty
DIMMED = 0.55  # brightness of the image behind what had been traced


def curve(
    traces: dict[str, dict[str, np.ndarray]],
    path: str | os.PathLike,
    targets: tuple[float, ...] = (0.8, 0.9, 0.95),
    ceiling: float = 1.0,
) -> None:
    """Dice against effort, a line per strategy, with the effort at which each target is reached.

    Effort in both kinds, side by side.

    Args:
      traces: name of a strategy -> the efforts of `EFFORTS` (%), 'dice' and 'dice_unclamped'
        (fractions), each [T + 1]: the initial annotations, then one row a query.
        Their lengths may differ between strategies.
      path: of the PNG, written whole.
      targets: Dice, fractions.
      ceiling: the Dice of the person's own outlines; drawn where it is below 1.
    """
    figure = canvas.new_figure(12.6, 5.0)
    colours = {name: LINES[i % len(LINES)] for i, name in enumerate(traces)}
    lows = [np.nanmin(t[k]) for t in traces.values() for k in ("dice", "dice_unclamped")]
    bottom = 100 * max(0.0, min([*lows, *targets]) - 0.03)
    for left, (kind, label) in zip((0.06, 0.55), EFFORTS.items(), strict=True):
        axes = figure.add_axes((left, 0.115, 0.435, 0.85))
        axes.set_ylim(bottom, 101.5)
        _curve(axes, kind, traces, colours, targets)
        if ceiling < 1:
            axes.axhline(100 * ceiling, color=INK, linewidth=1.0, linestyle="--", zorder=2)
        canvas.label_axes(axes, label, "Mean Dice over structures (%)", size=11)

    entries: dict[str, Artist] = {
        name: Line2D([], [], color=colour, linewidth=2) for name, colour in colours.items()
    }
    alone = Line2D([], [], color=INK, linewidth=1.0, linestyle=":")
    entries["network alone (unclamped)"] = alone
    if ceiling < 1:
        own = Line2D([], [], color=INK, linewidth=1.0, linestyle="--")
        entries[f"the person's own outlines ({ceiling:.1%})"] = own
    style: dict[str, Any] = {
        "ncols": 1 if len(entries) <= 6 else 2,
        "framealpha": 0.92,
        "edgecolor": "none",
    }
    canvas.legend(axes, entries, size=9, loc="lower right", **style).set_zorder(9)
    canvas.save(figure, path)


def _curve(
    axes: Axes, kind: str, traces: dict, colours: dict[str, str], targets: tuple[float, ...]
) -> None:
    """The lines of all strategies against one kind of effort."""
    start = min(float(t[kind][0]) for t in traces.values())
    stop = max(float(t[kind][-1]) for t in traces.values())
    width = max(stop - start, 1.0)
    right = start + 1.06 * width
    axes.set_xlim(start - 0.03 * width, right)
    for target in targets:
        axes.axhline(100 * target, color=PALE, linewidth=0.8, linestyle=(0, (5, 4)), zorder=1)
        style: dict[str, Any] = {
            "ha": "right",
            "va": "bottom",
            "fontsize": 8,
            "color": "#6a6a6a",
            "zorder": 1,
        }
        axes.text(right - 0.004 * width, 100 * target, f"{100 * target:g}%", **style)
    for order, (name, trace) in enumerate(traces.items()):
        above = 3 + (len(traces) - order) / 100  # the first strategy named lies on top
        effort, dice, alone = (np.asarray(trace[key]) for key in (kind, "dice", "dice_unclamped"))
        style = {"where": "post", "color": colours[name]}
        axes.step(effort, 100 * alone, ":", linewidth=1.0, alpha=0.7, zorder=above - 1, **style)
        axes.step(effort, 100 * dice, "-", linewidth=1.9, zorder=above, **style)
        axes.plot(effort[0], 100 * dice[0], ".", markersize=7, color=colours[name], zorder=above)
    for target in targets:
        reached = {n: effort_at(t[kind], t["dice"], target) for n, t in traces.items()}
        _mark(axes, target, reached, colours, width)


def _mark(
    axes: Axes, target: float, reached: dict[str, float], colours: dict[str, str], width: float
) -> None:
    """A dot and the effort in figures where each strategy first reaches a target.

    Figures that would run into each other go one line further down.
    """
    ends: list[float] = []  # where the last figure of each line of text ends, in units of x
    for name, effort in sorted(reached.items(), key=lambda item: item[1]):
        if np.isnan(effort):
            continue
        line = next((i for i, end in enumerate(ends) if effort > end), len(ends))
        ends[line : line + 1] = [effort + 0.05 * width]
        place, colour = (effort, 100 * target), colours[name]
        style: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.8, "zorder": 6}
        axes.plot(*place, marker="o", markersize=5, color=colour, **style)
        style = {"textcoords": "offset points", "ha": "left", "va": "top", "fontsize": 7.5}
        style |= {"color": colour, "path_effects": HALO, "zorder": 7}
        axes.annotate(f"{effort:.1f}", place, xytext=(4, -3 - 9 * line), **style)


def annotations(
    stack: Stack,
    rows: list[tuple[str, np.ndarray, np.ndarray]],
    path: str | os.PathLike,
    max_sections: int = 12,
) -> None:
    """What had been traced on which section, below the ground truth (the paper's Fig. 4).

    Args:
      stack: what was annotated.
      rows: (title, labels [N, H, W] with -1 where nothing was traced, annotated [N, C]) each.
      path: of the PNG, written whole.
      max_sections: number of columns at most.
    """
    truth = np.where(stack.inside, stack.truth, -1)
    labelled_sections(stack, [("ground\ntruth", truth, None), *rows], path, max_sections)


def labelled_sections(
    images: Images,
    rows: Sequence[tuple[str, np.ndarray, np.ndarray | None]],
    path: str | os.PathLike,
    max_sections: int = 12,
) -> None:
    """Sections in columns, their labels in rows.

    The sections are evenly chosen and titled by their names without endings. A 'B' marks those
    whose background was traced; the background itself is left uncoloured.

    Args:
      images: the sections; what lies outside is white. A legend lists the names of the classes
        where there are at most 20 beside the background.
      rows: (title, labels [N, H, W] with -1 where there is none, annotated [N, C]) each; without
        the last, the image is not dimmed.
      path: of the PNG, written whole.
      max_sections: number of columns at most.
    """
    shown = evenly_spaced(images.num_sections, max_sections)
    drawn = [labels.max(0) > 0 for _, labels, _ in rows]
    box = (shown, *_window(np.array(drawn)))
    colours = colours_of(images)
    grey = grey_levels(images.images[box], images.inside[box])

    pictures = []
    for title, labels, annotated in rows:
        brightness = 1.0 if annotated is None else DIMMED
        row = zip(grey * brightness, labels[box], images.inside[box], strict=True)
        pictures.append((title, [overlay(*section, colours) for section in row]))
    titles = [pathlib.PurePath(images.sections[n]).stem for n in shown]
    figure, panels = _sheet(titles, pictures, _legend(images))
    style: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 11, "fontweight": "bold"}
    style |= {"color": "white", "path_effects": [withStroke(linewidth=2, foreground="black")]}
    for (_, _, annotated), row_of_panels in zip(rows, panels, strict=True):
        for n, axes in zip(shown, row_of_panels, strict=True):
            if annotated is not None and annotated[n, 0]:
                axes.text(0.96, 0.04, "B", transform=axes.transAxes, **style)
    canvas.save(figure, path)


def contact_sheet(
    rows: Sequence[tuple[str, Stack, bool]], titles: Sequence[str], path: str | os.PathLike
) -> None:
    """All sections of stacks, one stack a row, each stack's brightness scaled on its own.

    Border that is dark, or outside, in all of them is cut away.

    Args:
      rows: (title, stack of N sections, whether its labels are drawn) each; sections of one size. A
        legend names the classes of the first row with labels where there are at most 20.
      titles: of the N columns.
      path: of the PNG, written whole.
    """
    greys = [grey_levels(stack.images, stack.inside) for _, stack, _ in rows]
    drawn = [
        (stack.truth > 0) | (stack.inside & (grey.max(-1) > DARK))
        for (_, stack, _), grey in zip(rows, greys, strict=True)
    ]
    box = (slice(None), *_window(np.concatenate(drawn)))
    pictures = []
    for (title, stack, labelled), grey in zip(rows, greys, strict=True):
        labels = stack.truth if labelled else np.zeros_like(stack.truth)
        sections = zip(grey[box], labels[box], stack.inside[box], strict=True)
        colours = colours_of(stack)
        pictures.append((title, [overlay(*section, colours) for section in sections]))
    legend = next((_legend(stack) for _, stack, labelled in rows if labelled), {})
    canvas.save(_sheet(titles, pictures, legend)[0], path)


def _legend(stack: Images) -> dict[str, tuple[float, float, float]]:
    """Colours [3] in 0..1 by the names of the classes beside background, none if there are many."""
    if stack.num_classes > 21:
        return {}
    pairs = zip(stack.names[1:], colours_of(stack)[1:] / 255, strict=True)
    return {name: (float(r), float(g), float(b)) for name, (r, g, b) in pairs}


def _sheet(
    titles: Sequence[str],
    rows: Sequence[tuple[str, list[np.ndarray]]],
    named: dict[str, tuple[float, float, float]],
) -> tuple[Figure, list[list[Axes]]]:
    """Titled rows and columns of pictures [h, w, 3] of one size, with a legend; their axes."""
    height, width = rows[0][1][0].shape[:2]
    panel = float(np.clip(16.8 / len(titles), 1.4, 2.8))  # inches, the larger side
    across, down = panel * width / max(height, width), panel * height / max(height, width)
    gap, top = 0.04, 0.33
    margin = 0.2 + 0.125 * max(canvas.columns(word) for title, _ in rows for word in _lines(title))
    page = margin + len(titles) * (across + gap) + 0.05
    widest = max(map(canvas.columns, named), default=0)
    columns = int(max(1, min(len(named), (page - 0.2) // (0.55 + 0.11 * widest))))
    legend = 0.16 + 0.25 * -(-len(named) // columns) if named else 0.05
    length = top + len(rows) * (down + gap) + legend
    figure = canvas.new_figure(page, length)

    panels: list[list[Axes]] = []
    for i, (title, pictures) in enumerate(rows):
        y = length - top - (i + 1) * (down + gap) + gap
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 13, "color": INK}
        text = literal("\n".join(_lines(title)))
        figure.text((margin - 0.1) / page, (y + down / 2) / length, text, **style)
        panels.append([])
        for j, (heading, picture) in enumerate(zip(titles, pictures, strict=True)):
            x = margin + j * (across + gap)
            axes = figure.add_axes((x / page, y / length, across / page, down / length))
            axes.set_axis_off()
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            if i == 0:
                axes.set_title(literal(heading), fontsize=13, color=INK, pad=3)
            panels[-1].append(axes)
    if named:
        patches = {name: Patch(facecolor=colour) for name, colour in named.items()}
        style = {"borderpad": 0, "handlelength": 1.1, "handleheight": 1.1, "labelspacing": 0.35}
        style |= {"loc": "lower center", "ncols": columns, "frameon": False}
        canvas.legend(figure, patches, 12, **style)
    return figure, panels


def colours_of(stack: Images) -> np.ndarray:
    """The colours that came with the classes, or else ours; [C, 3] uint8."""
    if stack.colours is None:
        return class_colours(stack.num_classes)
    return np.array(stack.colours, np.uint8)


def overlay(
    image: np.ndarray, labels: np.ndarray, inside: np.ndarray, colours: np.ndarray
) -> np.ndarray:
    """A section with its labels in colour.

    Args:
      image: [H, W, 1 or 3] brightness in 0..1.
      labels: [H, W]; classes from 1 are coloured, 0 and below are not.
      inside: [H, W] bool; elsewhere the picture is white.
      colours: [C, 3] uint8.

    Returns:
      [H, W, 3] uint8.
    """
    picture = 255.0 * np.broadcast_to(image, (*labels.shape, 3))
    drawn = colours[np.maximum(labels, 0)]
    picture = np.where((labels > 0)[..., None], TRACED * drawn + (1 - TRACED) * picture, picture)
    return np.where(inside[..., None], picture, 255.0).round().astype(np.uint8)


def _lines(title: str) -> list[str]:
    """A row's title in lines: what stands in brackets goes below."""
    return title.replace(" (", "\n(").split("\n")


def _window(drawn: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns with something drawn on any section, and a margin around; [N, H, W]."""
    if not drawn.any():
        return slice(None), slice(None)
    down, across = (np.flatnonzero(drawn.any(axes)) for axes in ((0, 2), (0, 1)))
    margin = max(2, round(0.06 * max(np.ptp(down), np.ptp(across))))
    rows, columns = (
        slice(max(0, int(used[0]) - margin), int(used[-1]) + 1 + margin) for used in (down, across)
    )
    return rows, columns


def grey_levels(images: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Images [N, H, W, K] scaled over the stack to 0..1, robust to a few bright pixels.

    In float64: the range of float32 numbers may be no float32 number.
    """
    pixels = images[inside].astype(np.float64)
    low, high = np.percentile(pixels, (0.1, 99.8)) if pixels.size else (0.0, 1.0)
    return np.clip((images - low) / (high - low or 1.0), 0, 1)
