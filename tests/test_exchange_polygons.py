"""Masks as polygons: lossless, exact in area, and what QuPath may send back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from partitions import CLASSES, NAMES, partition
from test_exchange import ask, refusal

from al_jax.core.stack import InputError
from al_jax.exchange.answers import read_answer
from al_jax.exchange.classes import ids_of, make_classes
from al_jax.exchange.polygons import rasterise, read_geojson, to_geojson
from al_jax.exchange.questions import read_manifest, write_question

pytest.importorskip("rasterio", reason="pip install '.[annotate]'")

TABLE = make_classes(NAMES)


def ring(*points):
    return [list(point) for point in (*points, points[0])]


def box(left, top, right, bottom):
    return ring((left, top), (right, top), (right, bottom), (left, bottom))


def feature(geometry, name="outer", **properties):
    classification = {} if name is None else {"classification": {"name": name, "color": [1, 2, 3]}}
    return {
        "type": "Feature",
        "id": "2d2a5e3c-2b4b-4f38-9f1a-0b8bd4f2f6a1",
        "geometry": geometry,
        "properties": {"objectType": "annotation", **classification, **properties},
    }


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def saved(tmp_path, content):
    path = tmp_path / "from_qupath.geojson"
    path.write_text(json.dumps(content))
    return path


def test_areas_are_those_of_the_pixels():
    geometry = pytest.importorskip("shapely.geometry", reason="the oracle: pip install '.[test]'")
    for seed in range(40):
        labels, factor = partition(seed), (1, 2.5)[seed % 2]
        content = json.loads(to_geojson(ids_of(labels, CLASSES), TABLE, factor))
        shapes = {}
        for one in content["features"]:
            shape = geometry.shape(one["geometry"])
            assert shape.is_valid
            c = NAMES.index(one["properties"]["classification"]["name"])
            shapes[c] = shape
            assert shape.area == pytest.approx((labels == c).sum() * factor**2)
            assert one["properties"]["classification"]["color"] == list(TABLE.colours[c])
        for a in shapes:
            for b in shapes:
                assert a == b or shapes[a].intersection(shapes[b]).area == 0
        assert set(shapes) == set(np.unique(labels[labels >= 0]).tolist())


@given(
    x=st.integers(0, 24).map(lambda n: n / 2),
    y=st.integers(0, 24).map(lambda n: n / 2),
    at=st.integers(0, 24).map(lambda n: n / 2),
    factor=st.sampled_from([1.0, 4.0, 3.7]),
)
@settings(max_examples=60, deadline=None)
def test_neighbours_have_neither_gaps_nor_doubles(x, y, at, factor):
    """A square in four, cut through any point of it, also through the middles of pixels."""
    size = 12
    corners = (box(0, 0, size, size)[:4]), (at, 0)
    middle = (x, y)
    ends = [(at, 0), (size, at), (size - at, size), (0, size - at)]
    between = [corners[0][1], corners[0][2], corners[0][3], corners[0][0]]
    total = np.zeros((size, size), int)
    for k in range(4):
        points = [middle, ends[k], between[k], ends[(k + 1) % 4]]
        outline = [[factor * a, factor * b] for a, b in ring(*points)]
        total += rasterise([[outline]], (size, size), factor)
    np.testing.assert_array_equal(total, 1)


def test_a_pixel_belongs_to_a_polygon_if_its_middle_does():
    outline = box(1.4, 0.6, 3.6, 2.4)  # middles at 1.5, 2.5, 3.5 and 1.5
    expected = np.zeros((4, 5), bool)
    expected[1, 1:4] = True
    np.testing.assert_array_equal(rasterise([[outline]], (4, 5)), expected)


@pytest.mark.parametrize("factor", [1.0, 4.0, 3.7, 0.5])
def test_a_downsample_factor_places_it(factor, tmp_path):
    """Columns 2 to 4 of rows 1 to 2, in pixels of the full-resolution image."""
    outline = [[factor * x, factor * y] for x, y in box(2, 1, 5, 3)]
    path = saved(tmp_path, feature(polygon(outline)))
    expected = np.zeros((6, 7), bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(read_geojson(path, (6, 7), factor)["outer"], expected)
    if factor > 1:
        with pytest.raises(
            InputError, match=r"annotation 1 \('outer'\) reaches from .* factor 0.5"
        ):
            read_geojson(path, (6, 7), 0.5)


@pytest.mark.parametrize("kind", ["collection", "feature", "list"])
def test_files_of_qupath(kind, tmp_path):
    """One feature, a list, or a collection; multipolygons with holes; annotations are joined."""
    parts = [[box(0, 0, 5, 5), box(1, 1, 4, 4)], [box(6, 0, 8, 1)]]
    many = feature({"type": "MultiPolygon", "coordinates": parts}, isLocked=False, name="inner: x")
    more = feature(polygon(box(2, 2, 3, 3)), name="inner: x")
    content = {
        "collection": {"type": "FeatureCollection", "features": [many, more]},
        "feature": many,
        "list": [many, more],
    }[kind]
    expected = np.zeros((6, 9), bool)
    expected[:5, :5] = True
    expected[1:4, 1:4] = False
    expected[0, 6:8] = True
    expected[2, 2] = kind != "feature"
    found = read_geojson(saved(tmp_path, content), (6, 9))
    np.testing.assert_array_equal(found["inner: x"], expected)


def test_a_colon_makes_two_names_in_qupath(tmp_path):
    one = feature(polygon(box(0, 0, 2, 2)), name=None)
    one["properties"]["classification"] = {"names": ["inner", "x"], "color": [1, 2, 3]}
    assert read_geojson(saved(tmp_path, one), (6, 9))["inner: x"].sum() == 4


def test_what_is_to_be_traced_is_not_locked(tmp_path):
    question, _ = ask(11)
    write_question(tmp_path, question, TABLE, ["geojson"])
    found = json.loads((tmp_path / "proposal.geojson").read_text())["features"]
    locked = {f["properties"]["classification"]["name"]: f["properties"]["isLocked"] for f in found}
    assert locked == {"background": True, "outer": True, NAMES[2]: False}


def test_parts_on_each_other_are_joined(tmp_path):
    twice = {"type": "MultiPolygon", "coordinates": [[box(0, 0, 3, 3)], [box(1, 1, 4, 4)]]}
    deep = {"type": "GeometryCollection", "geometries": [twice, polygon(box(5, 5, 6, 6))]}
    found = read_geojson(saved(tmp_path, feature(deep)), (7, 7))["outer"]
    assert found.sum() == 9 + 9 - 4 + 1 and found[1, 1]
    nothing = read_geojson(saved(tmp_path, feature(polygon())), (7, 7))["outer"]
    assert nothing.shape == (7, 7) and not nothing.any()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (feature(polygon(box(0, 0, 1, 1)), name=None), "annotation 1 has no class"),
        (feature({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}), "is a LineString"),
        (feature(polygon([[0, 0], [1, 1]])), "no valid coordinates"),
        (feature(polygon([[0, 0], [1, "a"], [2, 2], [0, 0]])), "no valid coordinates"),
        (feature(None), "no valid coordinates"),
        (feature(polygon(box(0, 0, 1, 1), [])), "no valid coordinates"),
        (polygon(box(0, 0, 1, 1)), "not GeoJSON of features"),
        ({"type": "FeatureCollection"}, "not GeoJSON of features"),
        (feature(polygon(box(0, 0, 99, 1))), "reaches from (0, 0) to (99, 1)"),
    ],
)
def test_what_cannot_be_an_answer(content, line, tmp_path):
    with pytest.raises(InputError) as caught:
        read_geojson(saved(tmp_path, content), (6, 7))
    assert line in str(caught.value) and "from_qupath.geojson" in str(caught.value)


def test_an_answer_drawn_on_the_whole_slide(tmp_path):
    question, _ = ask(11)
    write_question(tmp_path / "q", question, TABLE, ["geojson"], downsample=8.0)
    manifest = read_manifest(tmp_path / "q")
    drawn = feature(polygon([[8 * x, 8 * y] for x, y in box(1.2, 0.2, 3.3, 2.4)]), name=NAMES[2])
    mask = read_answer(saved(tmp_path, drawn), manifest)
    expected = np.zeros(mask.shape, bool)
    expected[0:2, 1:3] = True
    np.testing.assert_array_equal(mask, expected)
    wrong = feature(polygon(box(0, 0, 8, 8)), name="Tumor")
    line = refusal(saved(tmp_path, [drawn, wrong]), manifest)
    assert f"has 'Tumor', which is not a class; call it '{NAMES[2]}'" in line


def test_a_template_that_came_through_qupath_is_an_answer(tmp_path):
    question, mask = ask(11)
    write_question(tmp_path / "q", question, TABLE, ["geojson"])
    manifest = read_manifest(tmp_path / "q")
    content = json.loads((tmp_path / "q" / "template.geojson").read_text())
    drawn = json.loads(to_geojson(np.where(mask, 3, 0), TABLE))["features"]
    path = saved(tmp_path, [*content["features"], *drawn])
    np.testing.assert_array_equal(read_answer(path, manifest), mask)
