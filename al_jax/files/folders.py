"""Folders of pictures: which files are sections, in which order, and whose labels are whose."""

import difflib
import os
import pathlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from al_jax.core.stack import InputError
from al_jax.files.copies import note_copies
from al_jax.files.placeholders import check_here, stands_for
from al_jax.files.reading import listed, note
from al_jax.files.registry import PICTURES, find

LONGEST = 60
"""Bytes of a name within the name of a file, whose room is 255 on most systems."""

LABEL_ENDINGS = re.compile(r"[_-](cp_masks?|masks?|labels?|seg(mentations?)?)$", re.IGNORECASE)
"""What tools put after the name of an image to name its labels."""

IMAGE_ENDING = "_0000"
"""What nnU-Net puts after the name of an image, for its only channel."""

_TEXT = (".txt", ".csv", ".tsv", ".json", ".xml", ".yml", ".yaml", ".toml", ".ini", ".log", ".md")
_OFFICE = (".rst", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ods", ".db")
BESIDE = frozenset((*_TEXT, *_OFFICE, ".py", ".ipynb", ".m", ".r", ".sh"))
"""Endings of files that lie beside sections and are none: nothing is said of them."""

DOCUMENTS = ("README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "CHANGELOG", "SOURCE")
"""The same without an ending."""

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
    """The pictures of a folder in the order of their sections, with a note of what is left out.

    Copies among them are noted, too. Labels beside their images (`LABEL_ENDINGS`) are no sections.

    Raises:
      InputError: it is not a folder, holds no picture, or two of one section; or the content of a
        file is elsewhere, or its name is not UTF-8.
    """
    pictures, others = _pictures(folder)
    images, labels = _apart(pictures, None)
    _note_left_out(folder, images, labels, others)
    files = _by_stem(folder, images)
    note_copies(folder, files)
    return [files[stem] for stem in in_order(files)]


def pair_pictures(
    images: str | os.PathLike,
    labels: str | os.PathLike,
    label_suffix: str | None = None,
    *,
    begun: bool = False,
) -> list[tuple[pathlib.Path, pathlib.Path | None]]:
    """The image and the labels of each section of two folders, which may be one, in order.

    Args:
      images, labels: folders.
      label_suffix: what names of labels have after those of images.
      begun: sections may be without labels, which are None then; labels without an image are
        left out, with a note; and labels may be called as an export calls them (`plain_name`).

    Raises:
      InputError: see `list_pictures`; or a section is in one of them only.
    """
    (image_files, others), (label_files, more) = _pictures(images), _pictures(labels)
    if os.path.samefile(images, labels):
        label_files = [file for file in image_files if _without(_stem(file), label_suffix)]
        image_files = [file for file in image_files if file not in set(label_files)]
        if not image_files or not label_files:
            raise InputError(
                f"{images}: does not hold images beside labels, whose names end as --label_suffix "
                "says; give two folders, or another suffix"
            )
        _note_left_out(images, image_files, [], others)
    else:
        image_files, beside = _apart(image_files, label_suffix)
        _note_left_out(images, image_files, beside, _without_folder(others, labels))
        _note_left_out(labels, label_files, [], _without_folder(more, images))
    image_of, label_of = _by_stem(images, image_files), _by_stem(labels, label_files)
    note_copies(images, image_of)
    named = {stem: _image_name(stem, image_of, label_of) for stem in image_of}
    image_of = {named[stem]: file for stem, file in image_of.items()}
    pairs: dict[str, pathlib.Path] = {}
    for stem, file in label_of.items():
        bare = _without(stem, label_suffix)
        name = stem if (stem in image_of and label_suffix is None) or bare is None else bare
        if begun and name not in image_of:
            name = _exported(name, image_of) or name
        if name in pairs:
            raise InputError(f"{file}: {pairs[name].name} labels the same section; keep one")
        pairs[name] = file
    alone = in_order(pairs.keys() - image_of.keys())
    if begun and len(alone) < len(pairs):
        if alone:
            lost = listed(pairs[name].name for name in alone)
            note(f"{labels}: {images} has no image that belongs to {lost}; left out")
    else:
        for name in in_order(image_of.keys() ^ pairs.keys()):
            _lacks(name, images, labels, image_of, pairs)
    return [(image_of[name], pairs.get(name)) for name in in_order(image_of)]


def label_files(folder: str | os.PathLike, sections: list[str]) -> dict[str, pathlib.Path]:
    """The labels of sections that are pages of one file, by their names, of a folder.

    Raises:
      InputError: see `list_pictures`; or no file is called like a section.
    """
    files, others = _pictures(folder)
    _note_left_out(folder, files, [], others)
    found = {
        _exported(stem, sections) or stem: file for stem, file in _by_stem(folder, files).items()
    }
    alone = [file.name for name, file in found.items() if name not in sections]
    if len(alone) == len(found):
        raise InputError(
            f"{folder}: {files[0].name} is called like no section; these are {listed(sections, 4)}"
        )
    if alone:
        note(f"{folder}: no section is that of {listed(alone)}; left out")
    return found


def plain_name(name: str) -> str:
    """A name as a part of the name of a file: letters, digits, dots and dashes, not too long.

    Example:
      >>> plain_name("layer 2/3")
      'layer_2_3'
    """
    plain = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", name))
    return plain.encode()[:LONGEST].decode(errors="ignore").rstrip(".")


def _exported(stem: str, images: Iterable[str]) -> str | None:
    """The image whose labels an export calls so: by its number, `_`, and its name."""
    number, _, rest = stem.partition("_")
    if not number.isdecimal():
        return None
    images = in_order(images)
    found = [name for name in images if plain_name(name) == rest]
    if len(found) > 1:  # 'a 1' and 'a_1'
        found = [name for name in images[int(number) : int(number) + 1] if name in found]
    return found[0] if found else None


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


def _pictures(folder: str | os.PathLike) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The pictures of a folder, and whatever else is in it.

    Raises:
      InputError: see `list_pictures`.
    """
    check_here(folder)
    try:
        found = sorted(pathlib.Path(folder).iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: is not a folder that can be read ({error.strerror}); check the path"
        ) from error
    pictures: list[pathlib.Path] = []
    others: list[pathlib.Path] = []
    for path in found:
        meant = stands_for(path.name)
        if meant is not None and _is_picture(path.with_name(meant)) and path.is_file():
            raise InputError(
                f"{path}: stands for {meant}, which a cloud has not fetched; download it (in the "
                "cloud's program: keep it on this device), or remove it"
            )
        own = _is_picture(path) and not path.name.startswith(".")
        if own:
            check_here(path)
            _check_name(path)
        (pictures if own and path.is_file() else others).append(path)
    if not pictures:
        _no_pictures(folder, others)
    return pictures, others


def _check_name(path: pathlib.Path) -> None:
    """Refuses a name that no table and no page can hold."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: its name is not UTF-8; rename the file") from error


def _is_picture(path: pathlib.Path) -> bool:
    return find(PICTURES, path) is not None


def _no_pictures(folder: str | os.PathLike, others: list[pathlib.Path]) -> None:
    """Says what a folder without pictures holds instead."""
    inside = {name: count for name, count in _in_folders(others).items() if count}
    if inside:
        shown = listed((f"{count} in {name}" for name, count in inside.items()), 4)
        raise InputError(f"{folder}: holds no pictures but folders of them ({shown}); name one")
    files = [path for path in others if path.is_file() and not path.name.startswith(".")]
    kinds = Counter(path.suffix.lower() or "no extension" for path in files)
    there = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4)) or "no file"
    raise InputError(
        f"{folder}: holds no PNG, TIFF, JPEG or BMP files but {there}; check the path, or save "
        "the sections as PNG or TIFF"
    )


def _in_folders(paths: Iterable[pathlib.Path]) -> dict[str, int]:
    """How many pictures are in those of the paths that are folders, and in theirs."""
    folders = [path for path in paths if path.is_dir() and not path.name.startswith(".")]
    return {
        folder.name: sum(
            _is_picture(file) and not file.name.startswith(".")
            for _, _, names in os.walk(folder)
            for file in map(pathlib.Path, names)
        )
        for folder in folders
    }


def _apart(
    files: list[pathlib.Path], suffix: str | None
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The images, and the labels that lie beside their images."""
    stems = {_stem(file) for file in files}
    labels = [file for file in files if _without(_stem(file), suffix) in stems]
    return [file for file in files if file not in set(labels)], labels


def _without_folder(paths: list[pathlib.Path], folder: str | os.PathLike) -> list[pathlib.Path]:
    return [path for path in paths if not (path.is_dir() and path.samefile(folder))]


def _note_left_out(
    folder: str | os.PathLike,
    pictures: list[pathlib.Path],
    labels: list[pathlib.Path],
    others: list[pathlib.Path],
) -> None:
    """A note of what lies beside the sections and could be meant as one."""
    left = []
    if labels:
        shown = listed([file.name for file in labels], 3)
        left.append(f"{len(labels)} that are called like labels of others ({shown})")
    files = [path for path in others if not path.is_dir()]
    hidden = sum(path.name.startswith(".") and _is_picture(path) for path in files)
    kinds = Counter(
        path.suffix.lower() or "without an ending"
        for path in files
        if not path.name.startswith(".")
        and path.suffix.lower() not in BESIDE
        and path.name.upper() not in DOCUMENTS
    )
    left += [f"{count} {kind}" for kind, count in kinds.most_common()]
    left += [f"{hidden} hidden"] if hidden else []
    left += [
        f"{count} in the folder {name}" for name, count in _in_folders(others).items() if count
    ]
    if left:
        note(
            f"{folder}: {len(pictures)} files are sections; left out are {listed(left)}; if they "
            "are sections too, put them here as PNG or TIFF under names of their own"
        )


def without_ending(name: str) -> str:
    """The name of a picture's file without its ending, and without `.ome`; other names stay.

    Example:
      >>> without_ending("s1.ome.tif"), without_ending("1.5")
      ('s1', '1.5')
    """
    ends = [key for key in PICTURES if isinstance(key, str) and name.lower().endswith(key)]
    bare = name[: -len(max(ends, key=len))] if ends else name
    return bare[:-4] if ends and bare.lower().endswith(".ome") else bare


def _stem(path: pathlib.Path) -> str:
    """What names the section: no extension, `.ome` neither, and accents composed."""
    return unicodedata.normalize("NFC", without_ending(path.name))


def _by_stem(folder: str | os.PathLike, files: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    found: dict[str, pathlib.Path] = {}
    for path in files:
        stem = _stem(path)
        if stem in found:
            raise InputError(f"{path}: {found[stem].name} is the same section; keep one")
        found[stem] = path
    return found
