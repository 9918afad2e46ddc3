"""What the tests of readers share: small inputs, and what a reader may do with damaged ones."""

import gzip
import io as std_io
import pathlib
import struct
import zlib
from collections.abc import Callable

import nibabel
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from al_jax.core.stack import InputError, Stack, make_stack
from al_jax.files.reading import InputNote

TABLE = "id,name,group\n0,background,background\n3,left,nucleus\n5,right,nucleus\n7,shell,shell\n"


def small_stack() -> Stack:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (3, 5, 6))
    inside = rng.random((3, 5, 6)) < 0.8
    images = rng.integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)
    return make_stack(
        images,
        truth,
        ("background", "a", "bé, c"),
        inside,
        sections=("s1.png", "s2.png", "s10.png"),
        colours=[(0, 0, 0), (255, 0, 0), (1, 2, 3)],
    )


def assert_equal(first: Stack, second: Stack) -> None:
    for name in ("images", "inside", "truth"):
        one, two = getattr(first, name), getattr(second, name)
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    assert first.names == second.names and first.colours == second.colours
    assert first.sections == second.sections


def refused(message: str, reader: Callable, *args, **kwargs) -> None:
    with pytest.raises(InputError, match=message) as caught:
        reader(*args, **kwargs)
    assert "\n" not in str(caught.value)


def noted(message: str, reader: Callable, *args, **kwargs):
    """What the reader returns, with a note that matches."""
    with pytest.warns(InputNote, match=message):
        return reader(*args, **kwargs)


def small_volumes() -> tuple[np.ndarray, np.ndarray]:
    """A volume [10, 12, 14] in RAS order with one structure per octant, and its ids."""
    x, y, z = np.mgrid[:10, :12, :14]
    labels = np.zeros((10, 12, 14), np.uint8)
    body = (x > 1) & (x < 8) & (y > 2) & (y < 9) & (z > 1) & (z < 12)
    labels[body] = 7
    labels[(x == 3) & (y == 5) & (z == 9)] = 3
    labels[(x == 6) & (y == 6) & (z == 4)] = 5
    return np.where(body, 100 + x + 10 * z, 0).astype(np.uint8), labels


def oblique_volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, ids of `TABLE` on it, and their affine.

    Borders are trimmed along two axes of the array, and padded along the last, whatever is cut.
    Voxels have three sizes; the axes run obliquely, nearest to back, feet and left.
    """
    rng = np.random.default_rng(5)
    body = np.zeros((52, 60, 30), bool)
    body[20:34, 25:43, 2:20] = True
    image = np.where(body, rng.integers(1, 256, body.shape), 0).astype(np.uint8)
    labels = np.where(body, rng.choice([0, 3, 5, 7], body.shape), 0).astype(np.uint8)
    turn = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.25)
    stored = np.array([[0, 0, -1], [-1, 0, 0], [0, -1, 0]])
    affine = nibabel.affines.from_matvec(turn @ stored @ np.diag([0.8, 1.7, 1.1]), [31, -7, 12.5])
    return image, labels, affine


def save(path: pathlib.Path, data: np.ndarray, affine: np.ndarray | None = None) -> pathlib.Path:
    affine = np.eye(4) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(data, affine, dtype=data.dtype), path)
    return path


def picture_bytes(array: np.ndarray, extension: str = ".png", **options) -> bytes:
    buffer = std_io.BytesIO()
    Image.fromarray(array).save(buffer, {".png": "PNG"}.get(extension, "TIFF"), **options)
    return buffer.getvalue()


def png(array: np.ndarray, depth: int, colour: int) -> bytes:
    """A PNG of any depth and colour type, by the specification: [h, w, samples], big-endian."""
    height, width = array.shape[:2]
    flat = array.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = [[(int(v) >> b) & 1 for v in row for b in reversed(range(depth))] for row in flat]
        rows = [np.packbits(row).tobytes() for row in bits]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


def nifti_bytes(array: np.ndarray, compress: bool = True) -> bytes:
    data = nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    return gzip.compress(data, mtime=0) if compress else data


def valid_or_one_line(reader: Callable, *args, **kwargs) -> None:
    try:
        stack = reader(*args, **kwargs)
    except InputError as error:
        assert str(error) and "\n" not in str(error)
        return
    # What came through is a stack that would be accepted again.
    again = make_stack(
        stack.images,
        stack.truth,
        stack.names,
        stack.inside,
        sections=stack.sections,
        colours=stack.colours,
    )
    assert_equal(again, stack)


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """The file cut short, with bits flipped, with a stretch replaced, or nothing but noise."""
    place = st.integers(0, len(whole) - 1)

    def flip(places: list[tuple[int, int]]) -> bytes:
        data = bytearray(whole)
        for at, bit in places:
            data[at] ^= 1 << bit
        return bytes(data)

    return st.one_of(
        place.map(lambda n: whole[:n]),
        st.lists(st.tuples(place, st.integers(0, 7)), min_size=1, max_size=4).map(flip),
        # The head of a file holds shapes and types, where a flip does most harm.
        st.lists(
            st.tuples(st.integers(0, min(len(whole), 360) - 1), st.integers(0, 7)),
            min_size=1,
            max_size=3,
        ).map(flip),
        st.tuples(place, st.binary(max_size=40)).map(
            lambda p: whole[: p[0]] + p[1] + whole[p[0] + len(p[1]) :]
        ),
        st.binary(max_size=200),
    )
