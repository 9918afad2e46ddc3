"""Folders of pictures: which files are sections, in which order, and whose labels are whose."""

import difflib
import os
import pathlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from al_jax.core.stack import InputError
from al_jax.files.registry import PICTURES, find

LABEL_ENDINGS = re.compile(r"[_-](cp_masks?|masks?|labels?|seg(mentations?)?)$", re.IGNORECASE)
"""What tools put after the name of an image to name its labels."""

IMAGE_ENDING = "_0000"
"""What nnU-Net puts after the name of an image, for its only channel."""

_DECIMAL = r"(?<!\d\.)\d+\.\d+(?!\d|\.\d)"  # but not part of 1.2.3
_SIGN = r"(?:(?<![^\W_])[+-])?"  # but not after a letter or digit


def in_order(stems: Iterable[str]) -> list[str]:
    """Names of files in the order of the numbers in them.

    section2 comes before section10, bregma_-1.34 before bregma_0.26, and Section_1 before
    section_2. A hyphen is a sign only where no letter or digit is before it. A point makes a
    decimal unless the numbers look like chapters: 1.9 before 1.10.

    By hand, because natsort takes either every hyphen for a sign or none, and every point or none.
    """
    stems = list(stems)
    fractions = [n.split(".")[1] for stem in stems for n in re.findall(_DECIMAL, stem)]
    # Decimals have one number of digits after the point, or no zeros at their ends.
    alike = len({len(fraction) for fraction in fractions}) <= 1
    decimal = alike or not any(f.endswith("0") and len(f) > 1 for f in fractions)
    number = f"{_SIGN}(?:{_DECIMAL}|\\d+)" if decimal else rf"{_SIGN}\d+"

    def key(stem: str) -> list:
        parts = re.split(f"({number})", unicodedata.normalize("NFC", stem).casefold())
        return [[float(p) if i % 2 else p for i, p in enumerate(parts)], stem]

    return sorted(stems, key=key)


def list_pictures(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The pictures of a folder in the order of their sections.

    Raises:
      InputError: it is not a folder, holds no picture, or two of one section.
    """
    files = _by_stem(folder, _pictures(folder))
    return [files[stem] for stem in in_order(files)]


def pair_pictures(
    images: str | os.PathLike, labels: str | os.PathLike, label_suffix: str | None = None
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """The image and the labels of each section of two folders, which may be one, in order.

    Raises:
      InputError: see `list_pictures`; or a section is in one of them only.
    """
    image_files, label_files = _pictures(images), _pictures(labels)
    if os.path.samefile(images, labels):
        image_files = [file for file in image_files if _without(_stem(file), label_suffix) is None]
        label_files = [file for file in label_files if file not in set(image_files)]
        if not image_files or not label_files:
            raise InputError(
                f"{images}: does not hold images beside labels, whose names end as --label_suffix "
                "says; give two folders, or another suffix"
            )
    image_of, label_of = _by_stem(images, image_files), _by_stem(labels, label_files)
    named = {stem: _image_name(stem, image_of, label_of) for stem in image_of}
    image_of = {named[stem]: file for stem, file in image_of.items()}
    pairs: dict[str, pathlib.Path] = {}
    for stem, file in label_of.items():
        bare = _without(stem, label_suffix)
        name = stem if (stem in image_of and label_suffix is None) or bare is None else bare
        if name in pairs:
            raise InputError(f"{file}: {pairs[name].name} labels the same section; keep one")
        pairs[name] = file
    for name in in_order(image_of.keys() ^ pairs.keys()):
        _lacks(name, images, labels, image_of, pairs)
    return [(image_of[name], pairs[name]) for name in in_order(image_of)]


def _lacks(
    name: str,
    images: str | os.PathLike,
    labels: str | os.PathLike,
    image_of: dict[str, pathlib.Path],
    label_of: dict[str, pathlib.Path],
) -> None:
    has, lacks, others = images, labels, label_of
    if name in label_of:
        has, lacks, others = labels, images, image_of
    unpaired = [other for other in others if other not in (image_of.keys() & label_of.keys())]
    near = [other for other in unpaired if other.startswith(name) or name.startswith(other)]
    near += difflib.get_close_matches(name, unpaired, 1)
    nearest = f" (nearest: {others[near[0]].name})" if near else ""
    raise InputError(
        f"{lacks}: lacks the section '{name}' of {has}{nearest}; add it, rename, give "
        "--label_suffix, or remove both"
    )


def _image_name(stem: str, images: dict[str, pathlib.Path], labels: dict[str, pathlib.Path]) -> str:
    """The name of a section without nnU-Net's number of the channel."""
    if stem in labels or not stem.endswith(IMAGE_ENDING):
        return stem
    bare = stem.removesuffix(IMAGE_ENDING)
    return bare if bare not in images else stem


def _without(stem: str, suffix: str | None) -> str | None:
    """The name of the image that labels belong to; None if they have no ending of labels."""
    if suffix is None:
        bare = LABEL_ENDINGS.sub("", stem)
    else:
        bare = stem.removesuffix(unicodedata.normalize("NFC", suffix))
    return None if bare in (stem, "") else bare


def _pictures(folder: str | os.PathLike) -> list[pathlib.Path]:
    try:
        found = sorted(pathlib.Path(folder).iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: is not a folder that can be read ({error.strerror}); check the path"
        ) from error
    visible = [path for path in found if not path.name.startswith(".")]
    pictures = [path for path in visible if find(PICTURES, path) and path.is_file()]
    if not pictures:
        kinds = Counter(path.suffix.lower() or "no extension" for path in visible if path.is_file())
        there = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no file"
        raise InputError(
            f"{folder}: holds no PNG, TIFF, JPEG or BMP files but {there}; check the path, or save "
            "the sections as PNG or TIFF"
        )
    return pictures


def _stem(path: pathlib.Path) -> str:
    """What names the section: no extension, `.ome` neither, and accents composed."""
    stem = unicodedata.normalize("NFC", path.stem)
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def _by_stem(folder: str | os.PathLike, files: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    found: dict[str, pathlib.Path] = {}
    for path in files:
        stem = _stem(path)
        if stem in found:
            raise InputError(f"{path}: {found[stem].name} is the same section; keep one")
        found[stem] = path
    return found
