"""Multi-file OME-TIFF: each file of a folder is the section that it is."""

import pathlib

import numpy as np
import pytest
import tifffile
from samples import refused

from al_jax.files.inputs import read_images

pytestmark = pytest.mark.filterwarnings("ignore::al_jax.files.reading.InputNote")
RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 256, (3, 2, 6, 8), dtype=np.uint8)  # section, channel


def write(
    folder: pathlib.Path,
    *,
    files: int = 3,
    backwards: bool = False,
    companion: bool = False,
    split: bool = False,
) -> None:
    """Each file a section with its channels; or, `split`, each a channel with its sections."""
    places = [(z, c) for z in range(3) for c in range(2)]
    data = ""
    of: dict[int, list[tuple[int, int]]] = {n: [] for n in range(files)}
    for z, c in places:
        of[c if split else z].append((z, c))
    for n, own in of.items():
        for page, (z, c) in enumerate(reversed(own) if backwards else own):
            data += (
                f'<TiffData FirstZ="{z}" FirstC="{c}" IFD="{page}" PlaneCount="1">'
                f'<UUID FileName="s{n}.ome.tif">urn:uuid:{n}</UUID></TiffData>'
            )
    pixels = (
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="8" '
        f'SizeY="6" SizeC="2" SizeZ="3" SizeT="1">{data}</Pixels></Image>'
    )
    head = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID='
    )
    only = '<BinaryOnly MetadataFile="all.companion.ome" UUID="urn:uuid:9"/>'
    for n, own in of.items():
        inner = only if companion else pixels
        pages = np.stack([PLANES[place] for place in (reversed(own) if backwards else own)])
        tifffile.imwrite(
            folder / f"s{n}.ome.tif",
            pages,
            description=f'{head}"urn:uuid:{n}">{inner}</OME>',
            metadata=None,
            photometric="minisblack",
        )
    if companion:
        (folder / "all.companion.ome").write_text(f'{head}"urn:uuid:9">{pixels}</OME>')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "names.csv").write_text("id,name\n0,background\n1,a\n")
    return tmp_path / "images"


def check(folder: pathlib.Path, names: list[str], order: list[int]) -> None:
    for channel in (0, 1):
        found = read_images(folder, folder.parent / "names.csv", channels=[channel])
        assert list(found.sections) == names
        np.testing.assert_array_equal(found.images[..., 0], PLANES[order, channel])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("companion", [False, True])
def test_channels_in_one_file(folder, backwards, companion):
    write(folder, backwards=backwards, companion=companion)
    check(folder, ["s0.ome.tif", "s1.ome.tif", "s2.ome.tif"], [0, 1, 2])
    refused("s0.ome.tif: has 2 channels", read_images, folder, folder.parent / "names.csv")


@pytest.mark.parametrize(
    "names", [["a.tif", "b.tif", "c.tif"], ["s0.ome.tif", "x.ome.tiff", "z.tif"]]
)
def test_renamed_files(folder, names):
    """One even has the name of another one."""
    write(folder)
    for n in range(3):
        (folder / f"s{n}.ome.tif").rename(folder / f"old{n}")
    for n, name in zip((2, 0, 1), names, strict=True):
        (folder / f"old{n}").rename(folder / name)
    check(folder, names, [2, 0, 1])


def test_a_file_is_missing(folder):
    write(folder)
    (folder / "s1.ome.tif").unlink()
    check(folder, ["s0.ome.tif", "s2.ome.tif"], [0, 2])  # as sections they need each other not
    names = folder.parent / "names.csv"
    says = "s0.ome.tif: its description .OME. names a file that is not beside it"
    refused(says, read_images, folder / "s0.ome.tif", names, channels=[0])


def test_sections_in_one_file_are_no_channels(folder):
    write(folder, files=2, split=True)
    names = folder.parent / "names.csv"
    refused(
        "s0.ome.tif: holds .* give the file itself as --images, or one", read_images, folder, names
    )


def test_a_file_of_its_own_is_as_it_was(folder):
    for n in range(3):
        data = np.ascontiguousarray(PLANES[n])
        path = folder / f"s{n}.ome.tif"
        tifffile.imwrite(path, data, ome=True, metadata={"axes": "CYX"}, photometric="minisblack")
    check(folder, ["s0.ome.tif", "s1.ome.tif", "s2.ome.tif"], [0, 1, 2])
