"""What is annotated: sections with their image domain, and the true classes where they are known.

Everything downstream (equations, networks, the simulator) trusts an `Images` or a `Stack` and
checks no more, so every reader ends in `make_images` or `make_stack`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

UNLABELLED = -1
"""Label of a pixel that nobody has labelled yet, and of every pixel outside the image domain.

Background is 0, a class like the others; it never means "not annotated yet".
"""

Colour = tuple[int, int, int]


class InputError(ValueError):
    """Bad input from outside: one line that names the file, section or class, and how to fix it."""

    def __init__(self, message: str):
        """Joins the lines of `message`."""
        super().__init__(" ".join(str(message).split()))


class Place(NamedTuple):
    """Where sections lie: each in a slice of one volume. Tuples, as these can be static and JSON.

    Attributes:
      shape: of the volume's array as it is stored, (I, J, K).
      affine: four rows of four numbers: from (i, j, k) to mm in RAS order, as in NIfTI.
      cut: the same of whole numbers: from (column, row, slice) to (i, j, k).
      slices: N numbers, the slice that each section is.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    cut: tuple[tuple[int, ...], ...]
    slices: tuple[int, ...]


_STATIC = ("names", "sections", "colours", "place")
_register = functools.partial(jax.tree_util.register_dataclass, meta_fields=_STATIC)


@functools.partial(_register, data_fields=("images", "inside"))
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Images:
    """N sections of H by W pixels, and the C classes they may show. Build one with `make_images`.

    A pytree: the arrays are leaves, the rest is static.

    Attributes:
      images: [N, H, W, K] uint8 or float32 pixels, K = 1 (grey) or 3 (RGB).
      inside: [N, H, W] bool, the image domain Omega_n; pixels outside it count nowhere.
      names: C class names; `names[0]` is 'background'.
      sections: N names of the sections: of their files, or their numbers.
      colours: C colours (red, green, blue; 0-255) to draw the classes in, or None.
      place: where the sections lie in mm, or None. No computation depends on it.
    """

    images: np.ndarray
    inside: np.ndarray
    names: tuple[str, ...]
    sections: tuple[str, ...]
    colours: tuple[Colour, ...] | None = None
    place: Place | None = None

    @property
    def num_sections(self) -> int:
        """N."""
        return self.images.shape[0]

    @property
    def num_classes(self) -> int:
        """C, background included."""
        return len(self.names)


@functools.partial(_register, data_fields=("images", "inside", "truth"))
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Stack(Images):
    """`Images` with the class of every pixel. Build one with `make_stack`.

    Attributes:
      truth: [N, H, W] int16, class of every inside pixel (0 = background), `UNLABELLED` outside.
    """

    truth: np.ndarray


def make_images(
    images: npt.ArrayLike,
    names: Sequence[str],
    inside: npt.ArrayLike | None = None,
    *,
    sections: Sequence[str] | None = None,
    colours: Sequence[Colour] | None = None,
    place: Place | None = None,
) -> Images:
    """Checks sections without labels, for a person to annotate.

    Args:
      images: [N, H, W] or [N, H, W, K] with K = 1 or 3, uint8 or floating point; floats become
        float32. Other integers are refused, as their scale is not known.
      names: C class names, the first 'background'.
      inside: [N, H, W] bool, the image domain; None means that every pixel is inside.
      sections: N names; None numbers the sections from 0.
      colours: C colours, 0-255; None leaves the choice to `colours.class_colours`.
      place: where the sections lie in mm; None: nobody knows.

    Raises:
      InputError: the shapes or dtypes are wrong, there are fewer than two sections or two classes,
        a pixel is not finite, a section has no pixel inside, or a name is empty or used twice.
    """
    names = _check_names(names)
    images = _check_images(images)
    if inside is None:
        inside = np.ones(images.shape[:3], bool)
    else:
        inside = _to_array(inside, "inside")
        _check_shape("inside", inside, images.shape[:3])
        if inside.dtype != bool:
            raise InputError(f"inside has dtype {inside.dtype}; give booleans")
    if sections is None:
        sections = [str(number) for number in range(len(images))]
    for given, what, count, each in (
        (sections, "names", len(images), "sections"),
        (colours, "colours", len(names), "classes"),
        (place and place.slices, "slices", len(images), "sections"),
    ):
        if given is not None and len(given) != count:
            raise InputError(f"{len(given)} {what} for {count} {each}; give one for each")
    for section, own in enumerate(inside):
        if not own.any():
            raise InputError(
                f"section {sections[section]} has no pixel inside the image; leave it out"
            )
    return Images(
        images=images,
        inside=inside,
        names=names,
        sections=tuple(map(str, sections)),
        colours=None if colours is None else tuple((int(r), int(g), int(b)) for r, g, b in colours),
        place=place,
    )


def make_stack(
    images: npt.ArrayLike,
    truth: npt.ArrayLike,
    names: Sequence[str],
    inside: npt.ArrayLike | None = None,
    *,
    sections: Sequence[str] | None = None,
    colours: Sequence[Colour] | None = None,
    place: Place | None = None,
) -> Stack:
    """Checks a stack with the truth of every section, for a simulation.

    Args:
      images, names, inside, sections, colours, place: see `make_images`.
      truth: [N, H, W] integers, the class of every inside pixel, 0 to C-1. Values outside the
        image domain are ignored.

    Returns:
      A `Stack` of numpy arrays. `truth` is `UNLABELLED` wherever `inside` is False.

    Raises:
      InputError: what `make_images` refuses, `truth` has another shape or is not of integers, a
        class is out of range, or a class other than background has no pixel.
    """
    checked = make_images(images, names, inside, sections=sections, colours=colours, place=place)
    truth = _to_array(truth, "truth")
    _check_shape("truth", truth, checked.inside.shape)
    if truth.dtype.kind not in "iu":
        raise InputError(f"truth has dtype {truth.dtype}; give integer classes")

    # Section by section: an atlas leaves no room for temporary arrays of its size.
    names, inside = checked.names, checked.inside
    ready = truth.dtype == np.int16 and all(
        (classes[~own] == UNLABELLED).all() for classes, own in zip(truth, inside, strict=True)
    )
    classes_of = truth if ready else np.full(truth.shape, UNLABELLED, np.int16)
    present = np.zeros(len(names), bool)
    for section in range(len(truth)):
        classes = truth[section][inside[section]]
        wrong = (classes < 0) | (classes >= len(names))
        if wrong.any():
            raise InputError(
                f"section {checked.sections[section]} has class {classes[wrong][0]} but the "
                f"{len(names)} names allow 0 to {len(names) - 1}; correct the labels, or mark such "
                "pixels as not inside"
            )
        # Cast after the check: a value that wraps round in int16 must not pass for a class.
        classes = classes.astype(np.int16)
        if not ready:
            classes_of[section][inside[section]] = classes
        present |= np.bincount(classes, minlength=len(names)) > 0
    empty = [f"'{name}'" for name, some in zip(names[1:], present[1:], strict=True) if not some]
    if empty:
        raise InputError(
            f"no section has a pixel of class {', '.join(empty)}; "
            "take it out of the names, or correct the labels"
        )
    parts = {field.name: getattr(checked, field.name) for field in dataclasses.fields(checked)}
    return Stack(truth=classes_of, **parts)


def drop_absent(
    truth: np.ndarray,
    names: Sequence[str],
    colours: Sequence[Colour] | None = None,
    *,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[str, ...], tuple[Colour, ...] | None]:
    """Leaves out classes without a pixel, but never the background.

    `truth` [N, H, W] may have `UNLABELLED` pixels; the classes left are numbered anew, int16, and
    their names and colours follow them. They are written into `out`, which may be `truth`.
    """
    used = np.zeros(len(names), bool)
    used[0] = True
    for section in truth:  # an atlas leaves no room for temporary arrays of its size
        used |= np.bincount(section[section >= 0].ravel(), minlength=len(used)) > 0
    number = np.append(np.cumsum(used) - 1, UNLABELLED).astype(np.int16)  # -1 is the last
    left = np.empty(truth.shape, np.int16) if out is None else out
    for section, old in zip(left, truth, strict=True):
        section[...] = number[old]
    kept = None if colours is None else tuple(compress(colours, used))
    return left, tuple(compress(names, used)), kept


def _to_array(value: npt.ArrayLike, what: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:  # ragged nested lists
        raise InputError(f"{what} is not an array: {error}") from error


def _check_shape(what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InputError(
            f"{what} has shape {list(array.shape)} but the images are {list(shape)}; "
            "give one value for every pixel"
        )


def _check_names(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        raise InputError("names must be a sequence of class names, the first 'background'")
    names = tuple(str(name) if isinstance(name, str) else name for name in names)
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"class {index} has the name {name!r}; give it a printable name")
        if name in names[:index]:
            raise InputError(
                f"classes {names.index(name)} and {index} are both '{name}'; merge or rename one"
            )
    if not names or names[0] != "background":
        raise InputError(
            f"class 0 is {names[0]!r}; put 'background' first" if names else "there are no names"
        )
    if len(names) < 2:
        raise InputError("there is no class but background; name at least one structure")
    if len(names) > np.iinfo(np.int16).max:
        raise InputError(f"there are {len(names)} classes; labels are int16: merge some")
    return names


def _check_images(images: npt.ArrayLike) -> np.ndarray:
    images = _to_array(images, "images")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise InputError(
            f"images have shape {list(images.shape)}; give [sections, height, width] or "
            "[sections, height, width, channels] with 1 or 3 channels"
        )
    if len(images) < 2:
        raise InputError("there is only one section; a stack needs at least two")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise InputError(f"images have dtype {images.dtype}; scale them to uint8 or float32")
    with np.errstate(over="ignore"):
        images = images.astype(np.float32)
    for section, image in enumerate(images):
        if not np.isfinite(image).all():
            raise InputError(
                f"section {section} has pixels that are not finite; replace NaN and infinity"
            )
    return images


def parted(stack: Stack) -> tuple[Images, np.ndarray]:
    """The images of a stack, and its truth [N, H, W]."""
    images = make_images(
        stack.images,
        stack.names,
        stack.inside,
        sections=stack.sections,
        colours=stack.colours,
        place=stack.place,
    )
    return images, stack.truth


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """[<= most] int, sections among `count` at even distances, the first and the last of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
