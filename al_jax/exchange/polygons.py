"""Masks as GeoJSON polygons along the edges of their pixels, and back, without a pixel lost.

Coordinates are (x, y) in pixels of the full-resolution image, from its top left corner: pixel
(row, column) of a section reaches from (column, row) to (column + 1, row + 1), times the factor by
which the section is smaller. That is how QuPath counts. A pixel belongs to a polygon if its middle
does, so neighbours that share an outline have neither gaps nor pixels in common.
"""

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from al_jax.core.names import called, clean
from al_jax.core.stack import InputError
from al_jax.exchange.classes import Classes
from al_jax.exchange.extras import needed
from al_jax.exchange.placement import ALONE, InStack
from al_jax.files.reading import full_path, listed, note, reading

AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")


def to_geojson(
    ids: np.ndarray, classes: Classes, downsample: float = 1.0, unlocked: Sequence[int] = ()
) -> bytes:
    """A feature collection as QuPath imports it: an annotation a class.

    Args:
      ids: [H, W], 0 where there is nothing, else the class + 1.
      classes: their names and colours.
      downsample: pixels of the full-resolution image along a pixel of the section.
      unlocked: classes that may be edited at once; the others are locked.
    """
    features = needed("rasterio.features", "GeoJSON")
    transform = needed("rasterio", "GeoJSON").Affine.scale(downsample)
    parts: dict[int, list] = {}
    # Of pixels that touch at a corner alone, each has a polygon of its own: all are simple then.
    found = features.shapes(ids.astype(np.int32), ids > 0, connectivity=4, transform=transform)
    for geometry, value in found:
        parts.setdefault(int(value), []).append(geometry["coordinates"])
    annotations = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPolygon", "coordinates": parts[number]}
            if len(parts[number]) > 1
            else {"type": "Polygon", "coordinates": parts[number][0]},
            "properties": {
                "objectType": "annotation",
                "classification": {
                    "name": classes.names[number - 1],
                    "color": list(classes.colours[number - 1]),
                },
                "isLocked": number - 1 not in unlocked,
            },
        }
        for number in sorted(parts)
    ]
    collection = {"type": "FeatureCollection", "features": annotations}
    return json.dumps(collection, ensure_ascii=False).encode()


def read_geojson(
    path: str | os.PathLike,
    shape: tuple[int, int],
    downsample: float = 1.0,
    *,
    names: Sequence[str] = (),
    asked: str | None = None,
    stack: InStack = ALONE,
) -> dict[str, np.ndarray]:
    """The masks [H, W] bool of the classes in a file of QuPath, by their names.

    A file may be a feature collection, one feature, or a list of features, compressed by gzip or
    not; annotations of one class are joined. Of a file of a whole stack, those on the plane of the
    section are taken. Classes that QuPath ignores, whose names end with an asterisk, are left out,
    and so are annotations without a class where one of the class that is asked for is there.

    Args:
      path: of the file.
      shape: (H, W) of the section.
      downsample: pixels of the full-resolution image along a pixel of the section.
      names: of all classes, see `names.called`.
      asked: the class that is asked for; None: any will do.
      stack: where the section is in it.

    Raises:
      InputError: the file is not GeoJSON; an annotation has no class, no area, or reaches more than
        a pixel beyond the section; all are on planes of other sections.
    """
    with reading(path, "GeoJSON"):
        data = full_path(path).read_bytes()
        content = json.loads(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
    masks: dict[str, np.ndarray] = {}
    nameless: list[str] = []
    numbered = _on_plane(list(enumerate(_features(content, path), 1)), stack, path)
    for number, feature in numbered:
        where = f"{path}: annotation {number}"
        name = _class_name(feature)
        if name is None:
            nameless.append(where)
            continue
        name = called(name, names)
        if name.endswith("*") and name not in names:
            continue
        try:
            polygons = list(_polygons(feature.get("geometry"), where))
            check_place(polygons, shape, downsample, f"{where} ('{name}')")
            mask = rasterise(polygons, shape, downsample)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where} has no valid coordinates ({error}); export it again") from (
                error
            )
        masks[name] = masks[name] | mask if name in masks else mask
    if nameless and not (masks if asked is None else asked in masks):
        raise InputError(f"{nameless[0]} has no class; set its class in QuPath and export it again")
    if nameless:
        note(f"{path}: {len(nameless)} annotations have no class; they are left out")
    return masks


def take_plane(planes: Sequence[int], stack: InStack, path: str | os.PathLike) -> int:
    """The plane, of those of a file's objects, that shows a section: its own one.

    0 is that of pictures which have one plane alone.

    Raises:
      InputError: the objects are on planes of other sections, or nobody knows of which.
    """
    section = stack.number
    if section in planes and stack.kept:
        return section
    if set(planes) <= {0}:
        return 0
    if not stack.kept:
        stack.refuse(path)
    shown = listed(sorted(map(str, set(planes)), key=int))
    raise InputError(
        f"{path}: is drawn on planes {shown} (counted from 0) but the section asked for is plane "
        f"{section}; draw on that plane, or on the image of the question"
    )


def rasterise(polygons: list[list], shape: tuple[int, int], downsample: float = 1.0) -> np.ndarray:
    """The pixels whose middles lie in any of some polygons.

    Args:
      polygons: each as in GeoJSON: an outline and then its holes, each a list of (x, y).
      shape: (H, W).
      downsample: see `to_geojson`.

    Returns:
      [H, W] bool.
    """
    features = needed("rasterio.features", "GeoJSON")
    transform = needed("rasterio", "GeoJSON").Affine.scale(downsample)
    # One at a time: in one multipolygon, parts that lie on each other would cancel out.
    shapes = [{"type": "Polygon", "coordinates": polygon} for polygon in polygons if polygon]
    if not shapes:
        return np.zeros(shape, bool)
    return features.rasterize(shapes, shape, transform=transform, dtype=np.uint8).astype(bool)


def _features(content: Any, path: str | os.PathLike) -> list[dict]:
    if isinstance(content, dict):
        kind = content.get("type")
        content = content.get("features") if kind == "FeatureCollection" else [content]
    if not isinstance(content, list) or not all(
        isinstance(one, dict) and one.get("type") == "Feature" for one in content
    ):
        raise InputError(
            f"{path}: is not GeoJSON of features; in QuPath choose File > Export objects as GeoJSON"
        )
    return content


def _on_plane(
    numbered: list[tuple[int, dict]], stack: InStack, path: str | os.PathLike
) -> list[tuple[int, dict]]:
    """The features that are on the plane of the section; slices of a stack are z or time."""
    places = [_plane(feature) for _, feature in numbered]
    axis = 0 if any(z for z, _ in places) else 1
    planes = [place[axis] for place in places]
    own = take_plane(planes, stack, path) if planes else 0
    return [one for one, plane in zip(numbered, planes, strict=True) if plane == own]


def _plane(feature: dict) -> tuple[int, int]:
    """The plane of a feature along z and time, counted from 0."""
    geometry = feature.get("geometry")
    plane = geometry.get("plane") if isinstance(geometry, dict) else None
    if not isinstance(plane, dict):
        return 0, 0
    z, t = (plane.get(axis, 0) for axis in "zt")
    return (z if isinstance(z, int) else 0), (t if isinstance(t, int) else 0)


def _class_name(feature: dict) -> str | None:
    """The name of a feature's class, or None where it has none."""
    properties = feature.get("properties")
    given = properties.get("classification") if isinstance(properties, dict) else None
    name = given.get("name") if isinstance(given, dict) else given
    if isinstance(given, dict) and isinstance(given.get("names"), list):
        name = ": ".join(map(str, given["names"]))  # QuPath takes a colon for a class within one
    return clean(name) or None if isinstance(name, str) else None


def _polygons(geometry: Any, where: str) -> Iterator[list]:
    """The polygons of a geometry, however deep."""
    kind = geometry["type"]
    if kind not in AREAS:
        raise InputError(
            f"{where} is a {kind}, which has no area; draw a closed outline, or leave it out"
        )
    if kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _polygons(part, where)
    else:
        coordinates = geometry["coordinates"]
        yield from coordinates if kind == "MultiPolygon" else [coordinates]


def check_place(
    polygons: list[list], shape: tuple[int, int], downsample: float, where: str
) -> None:
    """Raises InputError for polygons that reach more than a pixel beyond the section."""
    for polygon in polygons:
        for ring in polygon:
            points = np.array([point[:2] for point in ring], float)
            if len(points) < 4 or not np.isfinite(points).all():
                raise ValueError("an outline of fewer than three points")
            low, high = points.min(0), points.max(0)
            size = downsample * np.array(shape[::-1])
            if (low < -downsample).any() or (high > size + downsample).any():
                raise InputError(
                    f"{where} reaches from {_point(low)} to {_point(high)}, but the section is "
                    f"{_point(size)} px wide and high at the factor {downsample:g}; export it "
                    "from the image that the factor belongs to, or give the factor of the image "
                    "that it was drawn on (--downsample)"
                )


def _point(xy: np.ndarray) -> str:
    return f"({xy[0]:g}, {xy[1]:g})"
