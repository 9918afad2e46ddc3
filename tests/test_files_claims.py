"""Headers that claim gigabytes are refused before any memory is taken."""

import gzip
import pathlib
import struct
import tracemalloc
import zipfile
import zlib

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from samples import refused

from al_jax.core.stack import InputError
from al_jax.files import claims
from al_jax.files.claims import check_claim
from al_jax.files.registry import open_picture
from al_jax.files.sections import read_section_images
from al_jax.files.stacks import read_stack, read_stack_images
from al_jax.files.tables import read_table
from al_jax.files.tiffs import open_pages
from al_jax.files.volumes import load_volume
from al_jax.files.weights import read_weights
from al_jax.learner.transfer import read_experience


def little(reader, *arguments, says: str) -> None:
    """The reader refuses by a line, and needs no more than some megabytes."""
    tracemalloc.start()
    try:
        refused(says, reader, *arguments)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_a_claim_is_compared_with_the_file_and_with_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(bytes(2**20))
    check_claim(path, claims.FREE)  # which a reader notices itself
    check_claim(path, 2**27, ratio=128)
    says = r"x: its header claims 1.0 GB, which a file of 1.0 MB cannot hold; it is damaged"
    refused(says, check_claim, path, 2**30)
    monkeypatch.setattr(
        claims.psutil, "virtual_memory", lambda: type("M", (), {"available": 2**29})
    )
    refused(
        "x: needs 1.0 GB of memory, of which 512.0 MB are free; crop",
        check_claim,
        path,
        2**30,
        2**30,
    )


@pytest.mark.parametrize("dims", [(4000, 4000, 4000, 1), (32767, 32767, 32767, 32767)])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.img"])
def test_volumes_of_nibabel(tmp_path, dims, name):
    kind = nibabel.Nifti1Pair if name == "v.img" else nibabel.Nifti1Image
    nibabel.save(kind(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / name)
    path = tmp_path / ("v.hdr" if name == "v.img" else name)
    data = path.read_bytes()
    data = bytearray(gzip.decompress(data) if name.endswith("gz") else data)
    data[40:56] = struct.pack("<8h", 4, *dims, 1, 1, 1)
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    little(load_volume, tmp_path / name, says=f"{name}: its header claims .* cannot hold")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("name", ["v.nrrd", "v.seg.nrrd", "v.nhdr"])
def test_nrrd(tmp_path, encoding, name):
    path = tmp_path / name
    nrrd.write(str(path), np.zeros((4, 5, 6), np.int16), {"encoding": encoding})
    data = path.read_bytes()
    assert b"sizes: 4 5 6" in data
    path.write_bytes(data.replace(b"sizes: 4 5 6", b"sizes: 40000 50000 60000"))
    little(load_volume, path, says=f"{name}: its header claims .* cannot hold")


@pytest.mark.parametrize("side", [13_000, 2**31 - 1])
def test_png(tmp_path, side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    path = tmp_path / "s.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )
    little(open_picture, path, says="s.png: (its header claims|has more than|has .* pixels)")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff(tmp_path, compression):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.float64), compression=compression)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("ImageLength", "ImageWidth", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(13_000)
    little(open_picture, path, says="s.tif: its header claims 1.3 GB, which a file")


def test_pages_of_a_tiff_that_are_not_there(tmp_path):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, np.zeros((4, 64, 64), np.uint8), imagej=True)
    data = path.read_bytes()
    assert data.count(b"images=4\n") == 1
    path.write_bytes(data.replace(b"images=4\n", b"images=9\n"))

    def decoded() -> None:
        with open_pages(path) as pages:
            assert len(pages) == 4  # those that are there
            raise InputError("s.tif: four")

    little(decoded, says="s.tif: ")


@pytest.mark.parametrize("lies", ["the array", "the archive", "both"])
@pytest.mark.parametrize("reader", [read_stack, read_stack_images, read_weights, read_experience])
def test_npz(tmp_path, lies, reader):
    path = tmp_path / "s.npz"
    shape = "(3, 60000, 60000, 3)" if lies != "the archive" else "(3, 60, 60, 3)"
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(32_400)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
    if lies != "the array":
        data = path.read_bytes()
        claimed = struct.pack("<I", 2**31)
        path.write_bytes(data.replace(struct.pack("<I", len(content)), claimed))
    little(reader, path, says="s.npz: its header claims .* cannot hold")


def test_one_large_section_among_small_ones(tmp_path, monkeypatch):
    """All sections are as large as the largest one."""
    (tmp_path / "images").mkdir()
    for n, side in enumerate((8, 8, 3000)):
        tifffile.imwrite(tmp_path / f"images/{n}.tif", np.ones((side, side), np.uint8) * (n + 1))
    (tmp_path / "names.csv").write_text("id,name\n0,background\n1,a\n")
    monkeypatch.setattr(claims, "FREE", 2**20)
    monkeypatch.setattr(
        claims.psutil, "virtual_memory", lambda: type("M", (), {"available": 2**25})
    )
    table = read_table(pathlib.Path(tmp_path / "names.csv"))
    with pytest.warns(UserWarning, match="sections differ in size"):
        refused("images: needs 51.5 MB of memory", read_section_images, tmp_path / "images", table)
