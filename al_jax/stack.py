"""An input stack: its sections, the image domain and the true classes, checked once at the door.

Everything downstream (equations, networks, the simulator) trusts a `Stack` and checks no more, so
every reader in `al_jax.io` ends in `make_stack`.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
import numpy.typing as npt

UNLABELLED = -1
"""Label of a pixel that nobody has traced yet, and of every pixel outside the image domain.

Background is 0, a class like the others; it never means "not annotated yet".
"""


class InputError(ValueError):
    """Bad input from outside: one line that names the file, section or class, and the mend."""

    def __init__(self, message: str):
        """Joins the lines of `message`."""
        super().__init__(" ".join(str(message).split()))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("images", "inside", "truth"),
    meta_fields=("names",),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """A stack of N sections of H by W pixels that shows C classes. Build one with `make_stack`.

    A pytree: the arrays are leaves, the names are static.

    Attributes:
      images: [N, H, W, K] uint8 or float32 pixels, K = 1 (grey) or 3 (RGB).
      inside: [N, H, W] bool, the image domain Omega_n; pixels outside it count nowhere.
      truth: [N, H, W] int16, class of every inside pixel (0 = background), `UNLABELLED` outside.
      names: C class names; `names[0]` is 'background'.
    """

    images: np.ndarray
    inside: np.ndarray
    truth: np.ndarray
    names: tuple[str, ...]

    @property
    def num_sections(self) -> int:
        """N."""
        return self.images.shape[0]

    @property
    def num_classes(self) -> int:
        """C, background included."""
        return len(self.names)


def make_stack(
    images: npt.ArrayLike,
    truth: npt.ArrayLike,
    names: Sequence[str],
    inside: npt.ArrayLike | None = None,
) -> Stack:
    """Checks the parts of a stack and puts them together.

    Args:
      images: [N, H, W] or [N, H, W, K] with K = 1 or 3, uint8 or floating point; floats become
        float32. Other integers are refused: how to scale them is the caller's to say.
      truth: [N, H, W] integers, the class of every inside pixel, 0 to C-1. Values outside the
        image domain are ignored.
      names: C class names, the first 'background'.
      inside: [N, H, W] bool, the image domain; None means that every pixel is inside.

    Returns:
      A `Stack` of numpy arrays. `truth` is `UNLABELLED` wherever `inside` is False.

    Raises:
      InputError: the shapes or dtypes are wrong, there are fewer than two sections or two classes,
        a pixel is not finite, a class is out of range, a section has no pixel inside, a class
        other than background has no pixel, or a name is empty or used twice.
    """
    names = _check_names(names)
    images = _check_images(images)
    truth = _to_array(truth, "truth")
    _check_shape("truth", truth, images.shape[:3])
    if truth.dtype.kind not in "iu":
        raise InputError(f"truth has dtype {truth.dtype}; give integer classes")
    if inside is None:
        inside = np.ones(truth.shape, bool)
    else:
        inside = _to_array(inside, "inside")
        _check_shape("inside", inside, images.shape[:3])
        if inside.dtype != bool:
            raise InputError(f"inside has dtype {inside.dtype}; give booleans")

    # Section by section: an atlas leaves no room for temporary arrays of its size.
    classes_of = np.full(truth.shape, UNLABELLED, np.int16)
    present = np.zeros(len(names), bool)
    for section in range(len(truth)):
        classes = truth[section][inside[section]]
        if classes.size == 0:
            raise InputError(f"section {section} has no pixel inside the image; leave it out")
        wrong = (classes < 0) | (classes >= len(names))
        if wrong.any():
            raise InputError(
                f"section {section} has class {classes[wrong][0]} but the {len(names)} names allow "
                f"0 to {len(names) - 1}; correct the labels, or mark such pixels as not inside"
            )
        # Cast after the check: a value that wraps round in int16 must not pass for a class.
        classes_of[section][inside[section]] = classes = classes.astype(np.int16)
        present |= np.bincount(classes, minlength=len(names)) > 0
    empty = [f"'{name}'" for name, some in zip(names[1:], present[1:], strict=True) if not some]
    if empty:
        raise InputError(
            f"no section has a pixel of class {', '.join(empty)}; "
            "take it out of the names, or correct the labels"
        )
    return Stack(images=images, inside=inside, truth=classes_of, names=names)


def drop_absent(truth: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Leaves out classes without a pixel, but never the background.

    `truth` [N, H, W] may have `UNLABELLED` pixels; the classes left are numbered anew, int16.
    """
    used = np.isin(np.arange(len(names)), truth)
    used[0] = True
    number = np.append(np.cumsum(used) - 1, UNLABELLED).astype(np.int16)  # -1 is the last
    return number[truth], tuple(np.array(names)[used].tolist())


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
