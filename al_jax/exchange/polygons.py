"""Masks as GeoJSON polygons along the edges of their pixels, and back, without a pixel lost.

Coordinates are (x, y) in pixels of the full-resolution image, from its top left corner: pixel
(row, column) of a section reaches from (column, row) to (column + 1, row + 1), times the factor by
which the section is smaller. That is how QuPath counts. A pixel belongs to a polygon if its middle
does, so neighbours that share an outline have neither gaps nor pixels in common.
"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from al_jax.core.names import clean
from al_jax.core.stack import InputError
from al_jax.exchange.classes import Classes
from al_jax.exchange.extras import needed
from al_jax.files.reading import full_path, reading

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
    path: str | os.PathLike, shape: tuple[int, int], downsample: float = 1.0
) -> dict[str, np.ndarray]:
    """The masks [H, W] bool of the classes in a file of QuPath, by their names.

    A file may be a feature collection, one feature, or a list of features; annotations of one class
    are joined.

    Args:
      path: of the file.
      shape: (H, W) of the section.
      downsample: pixels of the full-resolution image along a pixel of the section.

    Raises:
      InputError: the file is not GeoJSON; an annotation has no class, no area, or reaches more than
        a pixel beyond the section.
    """
    with reading(path, "GeoJSON"):
        content = json.loads(full_path(path).read_bytes())
    masks: dict[str, np.ndarray] = {}
    for number, feature in enumerate(_features(content, path), 1):
        where = f"{path}: annotation {number}"
        name = _class_name(feature, where)
        try:
            polygons = list(_polygons(feature.get("geometry"), where))
            _check_place(polygons, shape, downsample, f"{where} ('{name}')")
            mask = rasterise(polygons, shape, downsample)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where} has no valid coordinates ({error}); export it again") from (
                error
            )
        masks[name] = masks[name] | mask if name in masks else mask
    return masks


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


def _class_name(feature: dict, where: str) -> str:
    properties = feature.get("properties")
    given = properties.get("classification") if isinstance(properties, dict) else None
    name = given.get("name") if isinstance(given, dict) else given
    if isinstance(given, dict) and isinstance(given.get("names"), list):
        name = ": ".join(map(str, given["names"]))  # QuPath takes a colon for a class within one
    if not isinstance(name, str) or not clean(name):
        raise InputError(f"{where} has no class; set its class in QuPath and export it again")
    return clean(name)


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


def _check_place(
    polygons: list[list], shape: tuple[int, int], downsample: float, where: str
) -> None:
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
                    f"{_point(size)} px wide and high at the question's factor {downsample:g}; "
                    "export it from the image that the factor belongs to"
                )


def _point(xy: np.ndarray) -> str:
    return f"({xy[0]:g}, {xy[1]:g})"
