"""Label maps: numbers to ids, ids to classes. Any map, in any format that is read, comes back."""

import pathlib
import tempfile
import warnings

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from samples import png, refused

from al_jax.core.stack import InputError
from al_jax.files.inputs import is_volume, read_labelled
from al_jax.files.masks import empty_truth, to_classes, to_ids
from al_jax.files.slicing import Cut
from al_jax.files.tables import LabelTable

TABLE = LabelTable(
    "names.csv",
    np.array([-1, 0, 7, 3_000_000_000]),
    np.array([2, 0, 1, 1], np.int32),
    ("background", "a", "b"),
    None,
)


def test_to_ids_rounds_noise_alone():
    noisy = np.array([0, 1.0000001, 2.9999998, 6.9995], np.float32)
    assert to_ids(noisy, "x").tolist() == [0, 1, 3, 7]
    assert to_ids(np.array([True, False]), "x").tolist() == [1, 0]
    refused(r"x: has the label 2\.99; labels are whole", to_ids, np.array([1, 2.99]), "x")
    refused(r"x: has the label 0\.5; .* nearest neighbour", to_ids, np.array([0.5, 1]), "x")
    assert to_ids(np.array([2.0**24], np.float32), "x").tolist() == [2**24]
    message = "x: has the label 16777218 as float32, which cannot tell ids above 16777216 apart"
    refused(message, to_ids, np.array([2.0**24 + 2], np.float32), "x")
    refused("as float16, which cannot tell ids above 2048", to_ids, np.array([4096], "f2"), "x")
    assert to_ids(np.array([2.0**53]), "x").tolist() == [2**53]
    refused("x: has the label 18446744073709551615; use", to_ids, np.array([2**64 - 1]), "x")


def test_to_classes_looks_every_id_up():
    ids = np.array([[0, 7], [3_000_000_000, -1]])
    assert to_classes(ids, TABLE, "x").tolist() == [[0, 1], [1, 2]]
    assert to_classes(ids[0, 1:], TABLE, "x").tolist() == [1]
    message = "x: has the id 256, which names.csv does not list .here.; add it .*--outside_id=256"
    refused(message, to_classes, np.array([[0, 256]]), TABLE, "x", " (here)")
    refused("has the id -1294967296", to_classes, np.array([-1294967296]), TABLE, "x")


def test_room_for_truth_is_as_small_as_it_can_be():
    assert empty_truth((1, 2, 3), TABLE).dtype == np.int16
    many = TABLE._replace(names=tuple(map(str, range(40_000))))
    assert empty_truth((1, 2, 3), many).dtype == np.int32
    assert (empty_truth((1, 2, 3), many) == -1).all()


# Every format and depth: the classes that were written, or one line.

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
FLOATS = ["f4", "f8"]
UNUSED = 10**18 - 1  # an id of no map


def write_png(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        Image.fromarray(section.astype(dtype)).save(folder / f"{n}.png")


def write_shallow_png(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        (folder / f"{n}.png").write_bytes(png(section[..., None], BITS[dtype], 0))


def write_rgb_png(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        depth = 8 * np.dtype(dtype).itemsize
        (folder / f"{n}.png").write_bytes(png(np.stack([section] * 3, -1), depth, 2))


def write_opaque_png(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    most = np.full_like(ids[0], np.iinfo(dtype).max)
    for n, section in enumerate(ids):
        depth = 8 * np.dtype(dtype).itemsize
        (folder / f"{n}.png").write_bytes(png(np.stack([section, most], -1), depth, 4))


def write_bmp(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        Image.fromarray(section.astype(dtype)).save(folder / f"{n}.bmp")


def write_palette(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        indexed = Image.fromarray(section.astype(dtype))
        indexed.putpalette([0, 0, 0, *(v for i in range(1, 256) for v in (i, 255 - i, 9))])
        indexed.save(folder / f"{n}.png")


def write_tiff(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        options = {"compression": ("lzw", None, "zlib")[n % 3], "bigtiff": n == 1}
        tifffile.imwrite(folder / f"{n}.tif", section.astype(dtype), **options)


def write_white_is_zero(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        order = "<>"[n % 2]
        tifffile.imwrite(
            folder / f"{n}.tif", section.astype(dtype), photometric="miniswhite", byteorder=order
        )


def write_rgb_tiff(folder: pathlib.Path, ids: np.ndarray, dtype: str) -> None:
    for n, section in enumerate(ids):
        planes = np.stack([section.astype(dtype)] * 3)
        tifffile.imwrite(folder / f"{n}.tif", planes, photometric="rgb", planarconfig="separate")


BITS = {"one": 1, "two": 2, "four": 4}  # of a pixel, below a byte
FOLDERS = {
    **{("png", dtype): write_png for dtype in ("u1", "u2")},
    **{("shallow png", bits): write_shallow_png for bits in BITS},
    **{("rgb png", dtype): write_rgb_png for dtype in ("u1", "u2")},
    **{("opaque png", dtype): write_opaque_png for dtype in ("u1", "u2")},
    ("bmp", "u1"): write_bmp,
    ("palette", "u1"): write_palette,
    **{("tiff", dtype): write_tiff for dtype in (*INTEGERS, *FLOATS, "?")},
    **{("white is zero", dtype): write_white_is_zero for dtype in ("u1", "u2", "i4")},
    **{("rgb tiff", dtype): write_rgb_tiff for dtype in ("u1", "u2", "f4")},
}
VOLUMES = [
    *(("nii", dtype) for dtype in (*INTEGERS, *FLOATS)),
    *(("mgz", dtype) for dtype in ("u1", "i2", "i4", "f4")),
    *(("nrrd", dtype) for dtype in (*INTEGERS, *FLOATS)),
    *(("seg.nrrd", dtype) for dtype in ("u1", "i2")),
]
PAGES = [("pages", dtype) for dtype in (*INTEGERS, *FLOATS)]


def ids_of(dtype: str) -> st.SearchStrategy[int]:
    """Ids that the type holds and can tell apart, small ones and large."""
    if dtype == "?" or dtype in BITS:
        return st.integers(0, (1 << BITS.get(dtype, 1)) - 1)
    kind = np.dtype(dtype)
    most = 2 ** (np.finfo(kind).nmant + 1) if kind.kind == "f" else np.iinfo(kind).max
    least = -most if kind.kind == "f" else np.iinfo(kind).min
    most, least = min(most, 10**17), max(least, -(10**17))
    return st.one_of(st.integers(max(least, -3), min(most, 300)), st.integers(least, most))


maps = st.sampled_from([*FOLDERS, *VOLUMES, *PAGES]).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        st.lists(ids_of(kind[1]).filter(bool), min_size=1, max_size=5, unique=True),
        arrays.arrays(np.int8, (3, 4, 5), elements=st.integers(0, 5)),
    )
)


def write(folder: pathlib.Path, kind: tuple[str, str], ids: np.ndarray) -> list[pathlib.Path]:
    """Images and labels of sections [3, 4, 5] in one format."""
    form, dtype = kind
    image = np.arange(ids.size, dtype=np.uint8).reshape(ids.shape)
    if kind in FOLDERS:
        for name in ("images", "labels"):
            (folder / name).mkdir()
        write_png(folder / "images", image, "u1")
        FOLDERS[kind](folder / "labels", ids, dtype)
        return [folder / "images", folder / "labels"]
    if form == "pages":
        for name, array in (("images", image), ("labels", ids.astype(dtype))):
            tifffile.imwrite(folder / f"{name}.tif", array, photometric="minisblack")
        return [folder / "images.tif", folder / "labels.tif"]
    # Coronal sections, upright: [N, H, W] are [Y, Z, X], superior first.
    paths = [folder / f"{name}.{form}" for name in ("images", "labels")]
    for path, array in zip(paths, (image, ids.astype(dtype)), strict=True):
        volume = array[:, ::-1].transpose(2, 0, 1)
        if form.endswith("nrrd"):
            nrrd.write(str(path), volume, {"spacings": [1.0, 1.0, 1.0]})
        else:
            maker = nibabel.MGHImage if form == "mgz" else nibabel.Nifti1Image
            kwargs = {} if form == "mgz" else {"dtype": volume.dtype}
            nibabel.save(maker(volume, np.eye(4), **kwargs), path)
    return paths


@pytest.mark.parametrize("wrong", [False, True])
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(maps)
def test_a_label_map_of_any_format_and_depth_comes_back(wrong, case):
    """Or, if the table lacks an id, one line says so."""
    kind, listed, numbers = case
    lookup = np.array([0, *listed], np.int64)
    numbers = numbers % len(lookup)
    numbers[:, 0, 0] = 1  # every section shows a structure: volumes leave the others out
    ids = lookup[numbers]
    table = f"id,name\n0,background\n{UNUSED},unused\n"
    table += "".join(f"{label},{label}\n" for label in (listed[1:] if wrong else listed))
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = pathlib.Path(name)
        paths = write(folder, kind, ids)
        (folder / "names.csv").write_text(table)
        cut = {"cut": Cut(sections=3)} if is_volume(paths[0]) else {}
        if wrong:
            with pytest.raises(InputError, match=f"has the id {listed[0]}, which"):
                read_labelled(*paths, folder / "names.csv", **cut)
            return
        stack = read_labelled(*paths, folder / "names.csv", **cut)
        found = np.array([0, *(int(label) for label in stack.names[1:])])[stack.truth]
        if cut:  # padded to 16 by 16
            assert (np.delete(found, np.s_[6:10], 1) == 0).all()
            found = found[:, 6:10, 5:10]
        np.testing.assert_array_equal(found, ids)
