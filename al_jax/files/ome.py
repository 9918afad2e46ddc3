"""OME's description of TIFF files: which pages of one of several files are whose channels."""

import pathlib
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from al_jax.files.reading import reading


def own_channels(path: pathlib.Path, description: str, count: int) -> list[int] | None:
    """The channel of each of the `count` pages of a file that is one of several.

    A file is known by the identifier in it, so that it may have been renamed.

    Args:
      path: of the file.
      description: in it, as XML; one that names a companion beside the file stands for that.
      count: of its pages.

    Returns:
      None if the description is of this file alone, or its pages are not channels of one section.
    """
    with reading(path, "a TIFF with OME's description"):
        root = ElementTree.fromstring(description)
        own = root.get("UUID")
        for element in _all(root, "BinaryOnly"):
            companion = path.with_name(pathlib.PurePath(element.get("MetadataFile", "")).name)
            if not companion.is_file():
                return None
            root = ElementTree.fromstring(companion.read_bytes())
        for pixels in _all(root, "Pixels"):
            planes = [plane for data in _all(pixels, "TiffData") for plane in _planes(data, pixels)]
            if len({identifier for identifier, *_ in planes} | {own}) < 2:
                continue
            mine = {page: place for identifier, page, place in planes if identifier == own}
            if not mine and pixels.get("SizeC") == str(count):  # it was copied without its own
                return list(range(count))
            places = [mine[page] for page in range(count) if page in mine]
            others = {(z, t) for _, z, t in places}
            if len(places) == count and len(others) == 1:
                return [channel for channel, _, _ in places]
    return None


def physical_size(description: str, units: Mapping[str, float]) -> tuple[float, float] | None:
    """Height and width of a pixel in mm; `units` are millimetres by the names of units."""
    try:
        pixels = next(_all(ElementTree.fromstring(description), "Pixels"))
        height, width = (
            float(pixels.attrib[f"PhysicalSize{axis}"])
            * units[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "YX"
        )
    except (ElementTree.ParseError, StopIteration, KeyError, ValueError):
        return None
    return height, width


def _all(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Elements of a name, in whichever version of OME's name space."""
    return (one for one in element.iter() if one.tag.rpartition("}")[2] == name)


def _planes(
    data: ElementTree.Element, pixels: ElementTree.Element
) -> Iterator[tuple[str | None, int, tuple[int, int, int]]]:
    """The identifier of the file, the page in it, and its channel, depth and time."""
    identifier = next((one.text for one in _all(data, "UUID")), None)
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in order}
    at = {axis: int(data.get(f"First{axis}", 0)) for axis in order}
    first = int(data.get("IFD", 0))
    for page in range(first, first + int(data.get("PlaneCount", 1))):
        yield identifier, page, (at["C"], at["Z"], at["T"])
        for axis in order:  # the fastest first
            at[axis] += 1
            if at[axis] < sizes[axis]:
                break
            at[axis] = 0
