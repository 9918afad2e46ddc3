"""Outlines carried from annotated sections to their neighbours.

`make_fields` registers each section with the next, once a stack; `carried` composes these fields to
the sections around one, and `log_prior` is what that adds to the network's logits (Eq. 3). Nothing
here is of the size N x N, nor [N, H, W, C].
"""

import hashlib
import io
import os
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from al_jax import xla
from al_jax.core.stack import Images
from al_jax.core.state import PartialLabels
from al_jax.files.atomic import write_npz
from al_jax.learner import registration
from al_jax.learner.registration import Registered, register
from al_jax.model.inputs import Fields
from al_jax.model.resolution import nearest_downsample
from al_jax.model.upsampling import Coarse

SIDE = 192
"""Sections are downsampled to this side at most before they are registered, pixels."""

REACH = 8
"""Outlines are carried over so many sections at most, on either side."""

NEXT, EACH = 0.95, 0.87
"""The reliability of an outline that is carried to the next section, and its share by each more."""

UNKNOWN = 0.03
"""What a class has of which nothing is carried: between one that is there and one that is not."""

WEIGHT = 1.0
"""Of the log prior, where network and carried outlines draw equally well."""

NETWORK, CARRIED, TRIALS = 0.5, 0.8, 4.0
"""Before any trial: the network's Dice, that of carried outlines over their reliability, and for
how many trials of all structures both count."""

SUPPORT, SUPPORTED = 400.0, 3.0
"""The labelled pixels with which a network draws a structure half as well as it may be drawn, at
its resolution, and for how many trials of a structure that counts. With the numbers above fitted on
one deformed MRI stack and on Colin27."""

EXPLAINED = 0.75
"""The share of its detail that a good registration explains (`Registered.explained`), chosen on MRI
of people and mice and photographs of a frog (0.8 to 0.9) and two donors of histology (0.4)."""

FILE = "neighbours.npz"
"""The name of the file of a stack's fields in the folder of a run or a session."""


def make_fields(images: Images, cache: str | os.PathLike | None = None) -> Fields:
    """The fields between next sections of a stack; use it outside jit.

    Args:
      images: N sections.
      cache: a file of fields between pairs of sections, by their content: what it has is not
        registered again, and it is written when that was not all. None: nothing is kept.

    Raises:
      InputError: the file cannot be written.
    """
    factor = field_factor(images.images.shape[1:3])
    known = {} if cache is None else _read(pathlib.Path(cache))
    pairs: dict[str, Registered] = {}
    before, names = _grey(images.images[0], factor), []
    for section in range(1, images.num_sections):
        after = _grey(images.images[section], factor)
        names.append(_name(before, after))
        if names[-1] not in pairs:
            pairs[names[-1]] = known.get(names[-1]) or register(before, after)
        before = after
    if cache is not None and pairs.keys() != known.keys():
        _write(pathlib.Path(cache), pairs)
    return fields_of([pairs[name] for name in names], factor)


def field_factor(size: tuple[int, ...]) -> int:
    """The downsampling of sections of that [H, W] before they are registered."""
    return max(-(-max(size) // SIDE), 1)


def fields_of(pairs: list[Registered], factor: int) -> Fields:
    """The fields of a stack from those of its N - 1 pairs of next sections.

    A link counts by what its registration explains (`EXPLAINED`): a torn section, or one that is
    not like the next, or that is noisy, carries less.
    """
    still = np.zeros_like(pairs[0].forward, np.float16)
    back = np.stack([still, *(pair.backward.astype(np.float16) for pair in pairs)])
    ahead = np.stack([*(pair.forward.astype(np.float16) for pair in pairs), still])
    quality = np.minimum(np.array([pair.explained for pair in pairs], np.float32) / EXPLAINED, 1)
    return Fields(
        displacement=jnp.asarray(np.stack([back, ahead], 1)),
        quality=jnp.asarray(np.stack([np.append(0, quality), np.append(quality, 0)], 1)),
        downsampling=factor,
    )


def carried(
    partial: PartialLabels, fields: Fields, section: jax.Array, classes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where each class is on a section by what is known of those around it.

    On each side the nearest section counts where a class is known: annotated, answered as absent,
    or out of its range. It has the class or not at the pixel that shows the same. Both sides are
    weighted by their reliability, which falls with the distance and with bad registrations.

    Args:
      partial: of the whole stack. The section's own labels are not read.
      fields: likewise.
      section: [] int.
      classes: [K], those that are wanted.

    Returns:
      [h, w, K] float32 in [0, 1], of the section downsampled as the fields are; the reliability of
      each of the classes [K], 0 where nothing is known of it within `REACH`.
    """
    claimed, share, reliability = _both_sides(partial, fields, section, classes)
    there = sum(share[side] * claimed[side] for side in (0, 1))
    return jnp.asarray(there), reliability


def log_prior(
    partial: PartialLabels,
    fields: Fields,
    section: jax.Array,
    carrying: jax.Array,
    classes: jax.Array,
) -> Coarse:
    """What carried outlines add to the network's logits on a section (Eq. 3).

    That is the log of the probability of each class, over that of one of which nothing is known,
    weighted by how often the network is wrong over how often carried outlines are: it fades as the
    network learns.

    Args:
      partial, fields, section, classes: see `carried`.
      carrying: from `begin` and `add_trial`.

    Returns:
      Of each pixel [K] float32; 0 for a class of which nothing is carried.
    """
    (before, after), share, reliability = _both_sides(partial, fields, section, classes)
    network, ratio = (estimate[classes] for estimate in estimates(carrying))
    # In inverse proportion to their errors.
    weight = WEIGHT * (1 - network) / (1 - jnp.minimum(ratio * reliability, 0.95))
    reliability = jnp.minimum(reliability * ratio / CARRIED, 0.99)

    def added(there: jax.Array) -> jax.Array:
        probability = reliability * there + (1 - reliability) * UNKNOWN
        return weight * jnp.log(probability / UNKNOWN)

    # One logarithm a case instead of one a pixel.
    neither, before_alone, after_alone, both = (
        added(there) for there in (jnp.zeros_like(share[0]), *share, share.sum(0))
    )
    values = jnp.where(
        before, jnp.where(after, both, before_alone), jnp.where(after, after_alone, neither)
    )
    return Coarse(values, fields.downsampling)


def carry_mask(mask: np.ndarray, fields: Fields, source: int, section: int) -> np.ndarray:
    """Where a section shows what is in a mask [H, W] bool on another one, `source`."""
    points = source_points(mask.shape, fields, source, section)
    return ndimage.map_coordinates(mask.astype(np.float32), points, order=1) > 0.5


def source_points(shape: tuple[int, ...], fields: Fields, source: int, section: int) -> np.ndarray:
    """Where `source` shows what each pixel of a section shows; rows and columns [2, H, W], pixels.

    The fields between them are composed; without any link these are the pixels themselves.
    """
    step, size = (1 if source > section else -1), fields.displacement.shape[2:4]
    grid = np.indices(size).astype(np.float32)
    points = grid.copy()
    for here in range(section, source, step):
        last = np.array(size).reshape(2, 1, 1) - 1
        rows, columns = np.clip(np.rint(points), 0, last).astype(int)
        field = np.asarray(fields.displacement[here, (1 + step) // 2], np.float32)
        points += np.moveaxis(field[rows, columns], -1, 0)
    fine = np.indices(shape)
    coarse = (fine + 0.5) / fields.downsampling - 0.5
    moved = [
        fields.downsampling * ndimage.map_coordinates(along, coarse, order=1, mode="nearest")
        for along in points - grid
    ]
    return np.asarray(fine + moved)


def nearest_places(
    shape: tuple[int, ...], fields: Fields, source: int, section: int
) -> tuple[np.ndarray, np.ndarray]:
    """`source_points` as the pixels nearest to them, rows and columns [H, W] int."""
    rows, columns = np.rint(source_points(shape, fields, source, section)).astype(int)
    return rows.clip(0, shape[0] - 1), columns.clip(0, shape[1] - 1)


def sources(known: np.ndarray, section: int) -> list[int]:
    """The nearest sections within `REACH` where a structure is `known` [N] bool, at most two."""
    nearest = nearest_sections(np.flatnonzero(known), section)
    return [n for n in nearest if abs(n - section) <= REACH]


def nearest_sections(found: np.ndarray, section: int) -> list[int]:
    """The nearest ones before and after a section, of those `found` in ascending order, [M] int."""
    return [int(n) for n in (*found[found < section][-1:], *found[found > section][:1])]


def begin(areas: jax.Array, prior: jax.Array | None = None) -> jax.Array:
    """`carrying` before the first answer.

    The error of a network that has learnt from few pixels of a structure falls with their fourth
    root.

    Args:
      areas: [C], labelled pixels of each structure, at the network's resolution.
      prior: [C], Dice of the network on what it has not seen, from prior stacks; NaN: not known.

    Returns:
      [4, C] float32, sums over the answers of each structure, each with half the weight of the
      next: of the Dice of the network alone just before it, of one, of the Dice of the outline
      carried there, and of its reliability.
    """
    dice = jnp.clip(1 - 0.5 * (SUPPORT / jnp.maximum(areas, 1)) ** 0.25, 0.1, 0.95)
    if prior is not None:
        dice = jnp.where(jnp.isnan(prior), dice, prior)
    nothing = jnp.zeros_like(dice)
    return jnp.stack([SUPPORTED * dice, nothing + SUPPORTED, nothing, nothing])


def add_trial(
    carrying: jax.Array,
    alone: jax.Array,
    partial: PartialLabels,
    fields: Fields,
    pair: tuple[jax.Array | int, jax.Array | int],
) -> jax.Array:
    """`carrying` after an answer, unless its structure is absent.

    Args:
      carrying: before it.
      alone: [], the Dice of the network alone just before it.
      partial: after it.
      fields: of the stack.
      pair: section and structure of the answer.
    """
    section, structure = pair
    own = jnp.reshape(jnp.asarray(structure, jnp.int32), 1)
    there, reliability = carried(partial, fields, jnp.asarray(section), own)
    found = there[..., 0] > 0.5
    true = nearest_downsample(partial.labels[section], fields.downsampling) == structure
    dice = 2 * (found & true).sum() / jnp.maximum(found.sum() + true.sum(), 1)
    reliable = reliability[0]
    one = jnp.stack([alone, jnp.float32(1), jnp.where(reliable > 0, dice, 0), reliable])
    answered = jnp.arange(carrying.shape[1]) == structure
    return jnp.where(
        answered & partial.seen[section, structure], carrying / 2 + one[:, None], carrying
    )


def estimates(carrying: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The network's Dice, and that of carried outlines over their reliability, [C] both.

    A structure's own trials are shrunk towards those of all by one, and these towards what was
    seen on other stacks.
    """
    found = []
    for (total, count), usual in ((carrying[:2], NETWORK), (carrying[2:], CARRIED)):
        together = (total.sum() + TRIALS * usual) / (count.sum() + TRIALS)
        found.append((total + together) / (count + 1))
    return jnp.clip(found[0], 0, 1), jnp.clip(found[1], 0, 1)


def around(fields: Fields, section: int) -> Fields:
    """Those of the 2 `REACH` + 1 sections from which anything is carried to the one between."""
    count = fields.quality.shape[0]
    rows = np.clip(section + np.arange(-REACH, REACH + 1), 0, count - 1)
    return jax.tree.map(lambda leaf: leaf[rows], fields)


def _both_sides(
    partial: PartialLabels, fields: Fields, section: jax.Array, classes: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What each side claims [2, h, w, K] bool, its share [2, K], and their reliability [K]."""
    sides = jax.vmap(_one_side, in_axes=(None, None, None, 0))
    claimed, reliability = sides(partial, fields, section, jnp.arange(2))
    reliability = reliability[:, classes]
    share = reliability / jnp.maximum(reliability.sum(0), 1e-6)
    together = 1 - (1 - reliability[0]) * (1 - reliability[1])
    return claimed[..., None] == classes, share, together


def _one_side(
    partial: PartialLabels, fields: Fields, section: jax.Array, side: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """From a side (0: before, 1: after): each pixel's class, -1 for none, and the reliability.

    [h, w] int16, [C].
    """
    count, factor = partial.labels.shape[0], fields.downsampling
    step = 2 * side - 1
    known_on = ~partial.compatible  # annotated there, answered as absent, or out of range
    size = fields.displacement.shape[2:4]
    grid = jnp.stack(jnp.meshgrid(*(jnp.arange(s, dtype=jnp.float32) for s in size), indexing="ij"))

    def further(carry: tuple, _: None) -> tuple[tuple, None]:
        section, points, claimed, reliability, chain = carry
        here = jnp.clip(section, 0, count - 1)
        rows, columns = _nearest(points, size)
        field = fields.displacement[here, side]
        points = points + jnp.moveaxis(xla.from_half(field[rows, columns]), -1, 0)
        chain *= fields.quality[here, side]
        section += step
        there = jnp.clip(section, 0, count - 1)
        exists = section == there
        fine = _nearest((points + 0.5) * factor - 0.5, partial.labels.shape[1:])
        labels = partial.labels[there, fine[0], fine[1]]
        new = exists & known_on[there] & (reliability == 0)
        claims = (claimed < 0) & (labels >= 0) & new[labels]
        claimed = jnp.where(claims, labels, claimed)
        reliability = jnp.where(new, chain, reliability)
        return (section, points, claimed, reliability, chain * EACH), None

    begin = (
        section,
        grid,
        jnp.full(size, -1, partial.labels.dtype),
        jnp.zeros(partial.seen.shape[1]),
        jnp.float32(NEXT),
    )
    found = jax.lax.scan(further, begin, None, length=REACH)[0]
    return found[2], found[3]


def _nearest(points: jax.Array, size: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Rows and columns of the pixels nearest to points [2, h, w]."""
    rows, columns = (
        jnp.clip(jnp.round(p), 0, s - 1).astype(jnp.int32)
        for p, s in zip(points, size, strict=True)
    )
    return rows, columns


def _grey(image: np.ndarray, factor: int) -> np.ndarray:
    """[H, W, K] -> [h, w] float32, means of blocks, 0 to 1."""
    grey = np.asarray(image, np.float32).mean(-1)
    height, width = grey.shape
    grey = np.pad(grey, ((0, -height % factor), (0, -width % factor)), mode="edge")
    grey = grey.reshape(-(-height // factor), factor, -1, factor).mean((1, 3))
    low, high = grey.min(), grey.max()
    return (grey - low) / (high - low if high > low else 1)


def _name(first: np.ndarray, second: np.ndarray) -> str:
    """Names a pair by what is registered."""
    text = f"{registration.VERSION} {first.shape} {first.dtype}"
    return hashlib.sha256(text.encode() + first.tobytes() + second.tobytes()).hexdigest()[:32]


def _write(path: pathlib.Path, pairs: dict[str, Registered]) -> None:
    arrays: dict[str, np.ndarray] = {"names": np.array(list(pairs))}
    for field in ("forward", "backward"):
        arrays[field] = np.stack([getattr(p, field) for p in pairs.values()]).astype(np.float16)
    write_npz(path, arrays | {"explained": np.array([p.explained for p in pairs.values()])})


def _read(path: pathlib.Path) -> dict[str, Registered]:
    """The pairs of a file; none if it is not there, or not to be read: they are registered anew."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            columns = [file[name] for name in ("forward", "backward", "explained")]
            return dict(zip(file["names"].tolist(), map(Registered, *columns), strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
