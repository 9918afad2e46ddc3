"""Pictures of one section: what tools write, as image and as ids."""

import dataclasses
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw
from samples import picture_bytes, png, refused
from tifffile import EXTRASAMPLE

from al_jax.core.stack import InputError
from al_jax.files import pictures
from al_jax.files.pictures import ids_of, image_channels, image_of, orientations, turn
from al_jax.files.registry import open_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
IDS = np.array([[0, 1, 2, 3, 0, 0]] * 3 + [[3, 3, 0, 0, 1, 2]], np.uint8)


@pytest.fixture
def file(tmp_path):
    """Opens what was written, whatever its extension says."""

    def write(content, name="s.png", **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            tifffile.imwrite(path, content, **options)
        return open_picture(path)

    return write


def image(picture, channels=None):
    return image_of(picture, picture.orientation, channels)


def ids(picture):
    return ids_of(picture, picture.orientation)


# PNG, JPEG, BMP.


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_png_of_any_depth(file, depth):
    most = 2**depth - 1
    stored = (IDS.astype(int) % (most + 1)).astype(np.uint16)
    picture = file(png(stored[..., None], depth, 0))
    np.testing.assert_array_equal(ids(picture), stored)
    # As an image, few greys are spread over 8 bits.
    expected = stored * (255 // most) if depth < 8 else stored
    np.testing.assert_array_equal(image(picture)[..., 0], expected)
    assert image(picture).dtype == (np.uint16 if depth == 16 else np.uint8)


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_deep_png_keeps_all_its_bits(file, colour, samples):
    """12 bits in 16, as cameras of microscopes write them."""
    deep = RNG.integers(0, 4096, (4, 6, samples)).astype(np.uint16)
    kept = samples - (colour >= 4)
    picture = file(png(deep, 16, colour))
    np.testing.assert_array_equal(image(picture), deep[..., :kept])
    assert picture.opacity == (colour >= 4) and picture.dtype == np.uint16


def test_colours_and_opacity(file):
    colours = RNG.integers(0, 256, (4, 6, 4), dtype=np.uint8)
    np.testing.assert_array_equal(image(file(picture_bytes(colours))), colours[..., :3])
    shown = Image.fromarray(colours[..., :3])
    indexed = shown.quantize(18)
    expected = np.asarray(indexed.convert("RGB"))
    for extension, name in (("PNG", "p.png"), ("TIFF", "p.tif"), ("BMP", "p.bmp")):
        indexed.save(path := file_path(file, name), extension)
        np.testing.assert_array_equal(image(open_picture(path)), expected)
    grey = Image.fromarray(GREY)
    grey.save(path := file_path(file, "g.bmp"))
    np.testing.assert_array_equal(image(open_picture(path))[..., 0], GREY)
    Image.fromarray(GREY > 99).save(path)
    np.testing.assert_array_equal(image(open_picture(path))[..., 0], 255 * (GREY > 99))
    np.testing.assert_array_equal(ids(open_picture(path)), GREY > 99)


def file_path(file, name):
    """A place for a file beside the others."""
    return file(picture_bytes(GREY)).path.with_name(name)


def test_jpeg_is_an_image_but_no_labels(file):
    smooth = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))
    for array in (smooth, np.stack([smooth, smooth[::-1], smooth.T], -1)):
        Image.fromarray(array).save(path := file_path(file, "s.jpg"), quality=95)
        found = image(open_picture(path))
        expected = np.asarray(Image.open(path)).reshape(found.shape)
        np.testing.assert_array_equal(found, expected)
    path.rename(named := path.with_name("really.png"))  # its content says what it is
    assert image(open_picture(named)).shape == (16, 16, 3)
    refused("really.png: is compressed as JPEG, which changes ids", ids, open_picture(named))


def test_one_grey_in_three_channels_is_a_label_map_and_colours_are_none(file):
    same = np.stack([IDS] * 3, -1)
    opaque = np.full_like(IDS, 255)
    for array in (same, np.dstack([same, opaque]), np.dstack([IDS, opaque])):
        np.testing.assert_array_equal(ids(file(picture_bytes(array))), IDS)
    refused(
        "s.png: has pixels that are not opaque", ids, file(picture_bytes(np.dstack([IDS, IDS])))
    )
    same[0, 0] = [255, 0, 0]
    refused("s.png: is a picture of 3 channels; labels are one", ids, file(picture_bytes(same)))


def indexed_png(file, indices: np.ndarray, palette: list[int]):
    picture = Image.fromarray(indices)
    picture.putpalette(palette)
    picture.save(path := file_path(file, "indexed.png"))
    return open_picture(path)


def test_the_index_is_the_id_unless_all_colours_are_grey(file):
    colours = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]
    np.testing.assert_array_equal(ids(indexed_png(file, IDS, colours)), IDS)
    greys = [v for grey in (3, 2, 1, 0) for v in [grey] * 3]
    picture = indexed_png(file, 3 - IDS, greys)
    np.testing.assert_array_equal(ids(picture), IDS)
    np.testing.assert_array_equal(image(picture)[..., 0], IDS)
    assert pictures.palette_of(picture) is None


def test_files_that_are_no_pictures(file, tmp_path):
    refused("s.png: is empty", file, b"")
    refused(
        "s.png: is not a PNG, TIFF, JPEG or BMP .it begins with b'<html>", file, b"<html><body>"
    )
    whole = picture_bytes(RNG.integers(0, 256, (40, 40), dtype=np.uint8))
    refused("s.png: cannot be read as an image, it may be damaged", image, file(whole[:-300]))
    refused("none.png: there is no such file", open_picture, tmp_path / "none.png")
    frames = [Image.fromarray(GREY), Image.fromarray(GREY.T[:4, :4]).resize((6, 4))]
    path = tmp_path / "moving.png"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refused("moving.png: holds 2 images", open_picture, path)
    large = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    whole = png(np.zeros((1, 1, 1)), 8, 0)
    whole = whole[:16] + large + struct.pack(">I", zlib.crc32(b"IHDR" + large)) + whole[33:]
    refused("s.png: has more than 178956970 pixels; scale", file, whole)
    broken = whole[:20] + b"?" + whole[21:]
    refused("s.png: cannot be read as a PNG, JPEG or BMP, it may be damaged", file, broken)


# TIFF.


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "?", ">u2", ">f4"]
)
def test_tiff_labels_of_any_type(file, dtype):
    stored = (IDS > 0 if dtype == "?" else IDS).astype(dtype)
    order = ">" if dtype[0] == ">" else "<"
    picture = file(stored, "s.tif", byteorder=order)
    np.testing.assert_array_equal(ids(picture), stored)


def test_tiff_labels_that_are_no_ids(file):
    noisy = file(np.where(IDS == 3, np.float32(2.9999998), IDS).astype(np.float32), "s.tif")
    np.testing.assert_array_equal(ids(noisy), IDS)
    refused("s.tif: has the label -0.5;", ids, file(IDS + np.float32(-0.5), "s.tif"))
    refused("s.tif: has the label nan", ids, file(np.full((4, 6), np.nan, np.float32), "s.tif"))
    many = np.full((4, 6), 312782560, np.float32)
    refused("312782560 as float32, which cannot tell ids above 16777216", ids, file(many, "s.tif"))
    assert ids(file(np.full((4, 6), 3_000_000_000, np.uint32), "s.tif")).max() == 3_000_000_000


@pytest.mark.parametrize("depth", ["u1", "u2", "?"])
def test_white_is_zero_is_turned_round_in_images_but_not_in_labels(file, depth):
    stored = (IDS > 1 if depth == "?" else IDS).astype(depth)
    picture = file(stored, "s.tif", photometric="miniswhite")
    np.testing.assert_array_equal(ids(picture), stored)
    most = 1 if depth == "?" else np.iinfo(depth).max
    shown = (most - stored.astype(int)) * (255 if depth == "?" else 1)
    np.testing.assert_array_equal(image(picture)[..., 0], shown)


def test_tiff_colours(file):
    for dtype in ("u1", "u2"):
        colours = RNG.integers(0, 250, (4, 6, 4)).astype(dtype)
        rgb = colours[..., :3]
        for planar in ("contig", "separate"):
            stored = rgb if planar == "contig" else np.moveaxis(rgb, -1, 0)
            picture = file(
                np.ascontiguousarray(stored), "s.tif", photometric="rgb", planarconfig=planar
            )
            np.testing.assert_array_equal(image(picture), rgb)
        for extra in (EXTRASAMPLE.UNASSALPHA, EXTRASAMPLE.ASSOCALPHA):
            picture = file(colours, "s.tif", photometric="rgb", extrasamples=[extra])
            np.testing.assert_array_equal(image(picture), rgb)
        unknown = file(colours, "s.tif", photometric="rgb", extrasamples=["unspecified"])
        refused("s.tif: has 4 channels.*--channels=0", image_channels, unknown, None)
    # Inks: none is white, black alone is black, and both depths agree.
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0], [0, 0, 51, 51]]], np.uint8)
    shown = [[255] * 3, [0] * 3, [0, 255, 255], [204, 204, 163]]
    eight = image(file(inks, "s.tif", photometric="separated"))
    deep = image(file(inks.astype(np.uint16) * 257, "s.tif", photometric="separated"))
    assert eight[0].tolist() == shown and deep.dtype == np.uint16
    np.testing.assert_allclose(deep / 257, eight, atol=1)


def test_channels_are_counted_and_chosen(file):
    five = RNG.integers(0, 60000, (4, 6, 5)).astype(np.uint16)
    for stored, options in (
        (five, {"photometric": "minisblack", "planarconfig": "contig"}),
        (np.moveaxis(five, -1, 0), {"photometric": "minisblack", "planarconfig": "separate"}),
        (np.moveaxis(five, -1, 0), {"imagej": True, "metadata": {"axes": "CYX"}}),
        (np.moveaxis(five, -1, 0), {"ome": True, "metadata": {"axes": "CYX"}}),
    ):
        picture = file(np.ascontiguousarray(stored), "s.tif", **options)
        refused("s.tif: has 5 channels, not one or three", image_channels, picture, None)
        assert image_channels(picture, (1,)) == 1 and image_channels(picture, (4, 0, 2)) == 3
        np.testing.assert_array_equal(image(picture, (4, 0, 2)), five[..., [4, 0, 2]])
        np.testing.assert_array_equal(image(picture, (3,)), five[..., 3:4])
        refused("numbered from 0; --channels=5 asks", image_channels, picture, (5,))
    three = file(
        np.moveaxis(five[..., :3], -1, 0).copy(), "s.tif", imagej=True, metadata={"axes": "CYX"}
    )
    np.testing.assert_array_equal(image(three), five[..., :3])  # a composite of Fiji
    refused("--channels=0,1 chooses 2; choose one or three", image_channels, three, (0, 1))
    # Of colours, too, and of what palettes stand for.
    rgb = file(picture_bytes(np.stack([GREY, GREY // 2, GREY // 3], -1)))
    np.testing.assert_array_equal(image(rgb, (1,))[..., 0], GREY // 2)
    assert image_channels(file(picture_bytes(GREY)), (0,)) == 1
    refused(
        "has 1 channels, numbered from 0; --channels=1",
        image_channels,
        file(picture_bytes(GREY)),
        (1,),
    )


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits", "zstd", "lzma", "jpeg2000"])
def test_compressed_tiff(file, compression):
    options = {"reversible": True} if compression == "jpeg2000" else None
    picture = file(IDS, "s.tif", compression=compression, compressionargs=options)
    np.testing.assert_array_equal(ids(picture), IDS)


def test_jpeg_in_tiff_is_read_as_colours_and_is_no_label_map(file):
    smooth = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))
    colours = np.stack([smooth, smooth[::-1], smooth.T], -1)
    picture = file(colours, "s.tif", photometric="rgb", compression="jpeg")
    np.testing.assert_allclose(image(picture).astype(int), colours, atol=25)
    refused("s.tif: is compressed as JPEG", ids, picture)


def test_what_no_codec_reads_is_named(file):
    whole = bytearray(picture_bytes(GREY, ".tif", compression="tiff_lzw"))
    at = whole.index(struct.pack("<HHIH", 259, 3, 1, 5))
    whole[at + 8 : at + 10] = struct.pack("<H", 32809)  # ThunderScan
    refused(
        "s.tif: has the compression THUNDERSCAN, which is not read", file, bytes(whole), "s.tif"
    )
    lab = RNG.integers(0, 250, (4, 6, 3), dtype=np.uint8)
    refused("has colours of the kind CIELAB", file, lab, "s.tif", photometric="cielab")
    refused("has pixels of .* bits .complex64", file, GREY.astype(np.complex64), "s.tif")


def test_pyramids_and_pages(file, tmp_path):
    large = RNG.integers(0, 256, (64, 64), dtype=np.uint8)
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(large, subifds=1, tile=(32, 32))
        writer.write(large[::2, ::2], subfiletype=1, tile=(32, 32))
    np.testing.assert_array_equal(image(open_picture(path))[..., 0], large)
    with tifffile.TiffWriter(path) as writer:
        writer.write(large, metadata=None)
        writer.write(large[::2, ::2], subfiletype=1, metadata=None)
        writer.write(large[:10, :30], subfiletype=1, metadata=None)  # a thumbnail
    np.testing.assert_array_equal(image(open_picture(path))[..., 0], large)
    pages = np.stack([IDS, IDS])
    refused(
        "s.tif: holds 2 images; give the file itself",
        file,
        pages,
        "s.tif",
        photometric="minisblack",
    )
    with tifffile.TiffWriter(path) as writer:
        writer.write(large, metadata=None)
        writer.write(large[:40], metadata=None)
    refused("holds images of 2 kinds .64 by 64, 40 by 64 pixels", open_picture, path)


def test_one_file_of_a_set_that_ome_describes_is_one_section(tmp_path):
    """Micro-Manager and Bio-Formats write the description of all files into each."""
    names = ("a.ome.tif", "b.ome.tif")
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    described = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0"><Image '
        'ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="6" '
        'SizeY="4" SizeC="1" SizeZ="2" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f"{planes}</Pixels></Image></OME>"
    )
    for name, shift in zip(names, (0, 1), strict=True):
        tifffile.imwrite(
            tmp_path / name, GREY + np.uint8(shift), description=described, metadata=None
        )
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert file.series[0].shape == (2, 4, 6)  # what the description says
    for name, shift in zip(names, (0, 1), strict=True):
        np.testing.assert_array_equal(
            image(open_picture(tmp_path / name))[..., 0], GREY + np.uint8(shift)
        )


# Orientation.


@pytest.mark.parametrize("tag", range(1, 9))
def test_tags_turn_as_pillow_does(tag):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = tag
    stored = Image.fromarray(GREY)
    stored.info["exif"] = exif.tobytes()
    np.testing.assert_array_equal(turn(GREY, tag), np.asarray(ImageOps.exif_transpose(stored)))


@pytest.mark.parametrize("tag", [3, 6])
def test_tags_are_read_from_every_format(file, tmp_path, tag):
    expected = turn(GREY, tag)
    deep = file(GREY.astype(np.uint16), "s.tif", extratags=[(274, "H", 1, tag, True)])
    shallow = file(GREY, "t.tif", extratags=[(274, "H", 1, tag, True)])
    for picture in (deep, shallow):
        np.testing.assert_array_equal(image(picture)[..., 0], expected)
        np.testing.assert_array_equal(ids(picture), expected)
    exif = Image.Exif()
    exif[0x0112] = tag
    for name in ("e.png", "e.jpg"):
        Image.fromarray(GREY).save(tmp_path / name, exif=exif)
        assert open_picture(tmp_path / name).orientation == tag
        assert image(open_picture(tmp_path / name)).shape[:2] == expected.shape


def test_labels_lie_on_images_whose_tags_differ(file):
    plain = file(picture_bytes(GREY))
    turned = {tag: dataclasses.replace(plain, orientation=tag) for tag in range(1, 9)}
    assert orientations(turned[6], turned[6]) == (6, 6)
    assert orientations(turned[6], plain) == (6, 6)  # the tool of the labels ignored the tag
    upright = dataclasses.replace(plain, height=6, width=4)
    assert orientations(turned[6], upright) == (6, 1)  # that of these did not
    assert orientations(upright, turned[8]) == (1, 8)
    refused("has the orientation tag 1 but .* has 3", orientations, turned[3], plain)
    small = dataclasses.replace(plain, height=3)
    refused("has 3 by 6 pixels but .* has 6 by 4; make", orientations, turned[6], small)


def test_what_imagecodecs_and_pillow_decode_agrees(file):
    """The two libraries that read PNG, on what both can."""
    drawn = Image.new("RGB", (40, 30))
    ImageDraw.Draw(drawn).ellipse((3, 4, 30, 25), (200, 10, 90))
    data = picture_bytes(np.asarray(drawn))
    np.testing.assert_array_equal(imagecodecs.png_decode(data), image(file(data)))


def test_too_many_pixels_are_refused_before_they_are_decoded(file):
    with pytest.raises(InputError, match="30000 by 30000 pixels, more than 178956970"):
        dataclasses.replace(file(picture_bytes(GREY)), height=30_000, width=30_000)
