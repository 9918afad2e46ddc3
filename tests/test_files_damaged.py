"""Damaged files of any kind: a valid stack or one line."""

import io
import pathlib
import tempfile
import warnings

import nrrd
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from samples import (
    TABLE,
    damaged,
    nifti_bytes,
    picture_bytes,
    small_stack,
    small_volumes,
    valid_or_one_line,
)

from al_jax.core.stack import make_stack
from al_jax.files.inputs import read_labelled
from al_jax.files.slicing import Cut
from al_jax.files.stacks import read_stack, write_stack


@pytest.fixture(autouse=True)
def quiet():
    """Readers of damaged files warn; what counts here is what they return or raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def npz_bytes():
    with tempfile.TemporaryDirectory() as folder:
        write_stack(pathlib.Path(folder, "stack"), small_stack())
        return pathlib.Path(folder, "stack").read_bytes()


fuzz = settings(max_examples=60, deadline=None, derandomize=True, database=None)

IMAGE, LABELS = small_volumes()

COLOUR = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)

IDS = np.array([[3, 5, 7, 0, 0]] * 4, np.uint8)


def encoded(array: np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_bytes(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def nrrd_bytes(array: np.ndarray) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "volume.nrrd")
        nrrd.write(str(path), array, {"spacings": [1.0, 1.0, 1.0]})
        return path.read_bytes()


PICTURES = {
    ("images", ".png"): picture_bytes(COLOUR),
    ("images", ".jpg"): encoded(COLOUR, "JPEG"),
    ("images", ".bmp"): encoded(COLOUR, "BMP"),
    ("images", ".tif"): picture_bytes(COLOUR, ".tif", compression="tiff_lzw"),
    ("images", ".tiff"): tiff_bytes(np.stack([COLOUR[..., 0]] * 3), ome=True),
    ("labels", ".png"): picture_bytes(IDS),
    ("labels", ".bmp"): encoded(IDS, "BMP"),
    ("labels", ".tif"): picture_bytes(IDS, ".tif"),
    ("labels", ".tiff"): tiff_bytes(IDS.astype(np.float32), compression="zlib"),
}
PAGES = {
    "images": tiff_bytes(np.stack([COLOUR[..., 0]] * 3), imagej=True),
    "labels": tiff_bytes(np.stack([IDS] * 3), photometric="minisblack", compression="lzw"),
}
NRRDS = {"image": nrrd_bytes(IMAGE), "labels": nrrd_bytes(LABELS)}
TABLES = (
    TABLE,
    "0 Unknown 0 0 0 0\n3 left 205 62 78 0\n5 right 1 2 3 0\n7 shell 1 1 1 0\n",
    '0 0 0 0 0 0 0 "Clear Label"\n3 1 2 3 1 1 1 "a"\n5 1 2 3 1 1 1 "b"\n7 1 2 3 1 1 1 "c"\n',
    '[{"id": 3, "name": "a"}, {"id": 5, "name": "b"}, {"id": 7, "name": "c"}]',
)


@fuzz
@given(damaged(npz_bytes()))
def test_damaged_npz(data):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "stack.npz")
        path.write_bytes(data)
        valid_or_one_line(read_stack, path)


@fuzz
@given(
    st.sampled_from(
        [("image", True), ("image", False), ("labels", True), ("labels", False)]
    ).flatmap(
        lambda k: st.tuples(
            st.just(k), damaged(nifti_bytes(IMAGE if k[0] == "image" else LABELS, k[1]))
        )
    )
)
def test_damaged_volume(case):
    (which, compress), data = case
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        paths = {k: folder / f"{k}.nii.gz" for k in ("image", "labels")}
        paths["image"].write_bytes(nifti_bytes(IMAGE))
        paths["labels"].write_bytes(nifti_bytes(LABELS))
        if not compress:
            paths[which] = folder / f"{which}.nii"
        paths[which].write_bytes(data)
        (folder / "names.csv").write_text(TABLE)
        valid_or_one_line(
            read_labelled,
            paths["image"],
            paths["labels"],
            folder / "names.csv",
            cut=Cut(sections=3),
        )


@fuzz
@given(
    st.sampled_from(sorted(PICTURES)).flatmap(
        lambda k: st.tuples(st.just(k), damaged(PICTURES[k]))
    ),
    st.sampled_from([None, 0, 7]),
)
def test_damaged_folder(case, outside_id):
    (where, extension), data = case
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind in ("images", "labels"):
            (folder / kind).mkdir()
            for stem in ("1", "2"):
                (folder / kind / f"{stem}.png").write_bytes(PICTURES[kind, ".png"])
        (folder / where / "2.png").unlink()
        (folder / where / f"2{extension}").write_bytes(data)
        (folder / "names.csv").write_text(TABLE)
        valid_or_one_line(
            read_labelled,
            folder / "images",
            folder / "labels",
            folder / "names.csv",
            outside_id=outside_id,
        )


@fuzz
@given(st.sampled_from(sorted(PAGES)).flatmap(lambda k: st.tuples(st.just(k), damaged(PAGES[k]))))
def test_damaged_pages(case):
    which, data = case
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind, whole in PAGES.items():
            (folder / f"{kind}.tif").write_bytes(data if kind == which else whole)
        (folder / "names.csv").write_text(TABLE)
        paths = [folder / name for name in ("images.tif", "labels.tif", "names.csv")]
        valid_or_one_line(read_labelled, *paths)


@fuzz
@given(st.sampled_from(sorted(NRRDS)).flatmap(lambda k: st.tuples(st.just(k), damaged(NRRDS[k]))))
def test_damaged_nrrd(case):
    which, data = case
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind, whole in NRRDS.items():
            (folder / f"{kind}.nrrd").write_bytes(data if kind == which else whole)
        (folder / "names.csv").write_text(TABLE)
        paths = [folder / name for name in ("image.nrrd", "labels.nrrd", "names.csv")]
        valid_or_one_line(read_labelled, *paths, cut=Cut(sections=3))


@fuzz
@given(
    st.one_of(
        *(damaged(table.encode()) for table in TABLES),
        st.text('id,name\n\r"03579 -+._é\x00', max_size=60).map(
            lambda t: ("id,name\n" + t).encode()
        ),
    )
)
def test_damaged_table(data):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "image.nii").write_bytes(nifti_bytes(IMAGE, compress=False))
        (folder / "labels.nii").write_bytes(nifti_bytes(LABELS, compress=False))
        (folder / "names.csv").write_bytes(data)
        paths = [folder / n for n in ("image.nii", "labels.nii", "names.csv")]
        valid_or_one_line(read_labelled, *paths, cut=Cut(sections=3))


@fuzz
@given(
    st.lists(st.integers(0, 4), min_size=0, max_size=5),
    st.lists(st.integers(0, 4), min_size=0, max_size=5),
    st.sampled_from([np.uint8, np.int16, np.float32, np.float64, bool, "U1"]),
    st.integers(-2, 3),
)
def test_any_shapes_and_types_make_a_stack_or_one_line(images, truth, dtype, value):
    valid_or_one_line(
        lambda: make_stack(
            np.full(images, value).astype(dtype), np.full(truth, value), ("background", "a")
        )
    )
