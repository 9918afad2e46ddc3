"""`.seg.nrrd`, the segmentations of 3D Slicer: segments by name, which may overlap."""

import io
import os
import re
from collections.abc import Sequence

import numpy as np

from al_jax.core.stack import InputError
from al_jax.exchange.classes import Classes
from al_jax.exchange.extras import needed
from al_jax.exchange.placement import LPS, onto_section
from al_jax.files.reading import full_path, reading

PURPOSE = "a .seg.nrrd"


def to_seg_nrrd(
    ids: np.ndarray, classes: Classes, affine: np.ndarray, listed: Sequence[int] = ()
) -> bytes:
    """A segment for each class that is shown.

    Args:
      ids: [N, H, W], 0 where there is nothing, else the class + 1.
      classes: their names and colours.
      affine: [4, 4], from (column, row, section) to mm (RAS).
      listed: classes that get a segment, even if an empty one, beside those that are shown.
    """
    slicerio = needed("slicerio", PURPOSE)
    voxels = ids.transpose(2, 1, 0)
    ends = [size - 1 for size in voxels.shape]
    shown = sorted({*np.unique(ids).tolist(), *(c + 1 for c in listed)} - {0})
    names = [classes.names[number - 1] for number in shown]
    segmentation = {
        "voxels": voxels,
        "ijkToLPS": LPS @ affine,
        "containedRepresentationNames": ["Binary labelmap"],
        "segments": [
            {
                "id": f"class_{number}",
                "name": f"class_{number}",
                "color": [round(value / 255, 6) for value in classes.colours[number - 1]],
                "labelValue": number,
                "layer": 0,
                # All of it: some versions of 3D Slicer crop every segment to the first one's.
                "extent": [0, ends[0], 0, ends[1], 0, ends[2]],
            }
            for number in shown
        ],
    }
    file = io.BytesIO()
    slicerio.write_segmentation(file, segmentation)
    # pynrrd writes ASCII alone, 3D Slicer reads UTF-8: names are put into the header afterwards.
    header, gap, data = file.getvalue().partition(b"\n\n")
    for k, (number, name) in enumerate(zip(shown, names, strict=True)):
        old, new = f"Segment{k}_Name:=class_{number}\n", f"Segment{k}_Name:={name}\n"
        header = (header + b"\n").replace(old.encode(), new.encode())[:-1]
    return header + gap + data


def read_seg_nrrd(
    path: str | os.PathLike, section: np.ndarray, shape: tuple[int, int]
) -> list[tuple[str, np.ndarray]]:
    """The segments of a file in its order: names and masks [H, W] bool; empty ones too.

    Placed by its header: 3D Slicer writes no more of the image than what segments fill.

    Args:
      path: of the file.
      section: [4, 4], from (column, row, 0) of the section to mm (RAS).
      shape: (H, W).

    Raises:
      InputError: the file is not a segmentation, or lies elsewhere.
    """
    slicerio = needed("slicerio", PURPOSE)
    file = full_path(path)
    with reading(path, "a segmentation"):
        found = slicerio.read_segmentation(str(file))
        names = _names(file.read_bytes())
        voxels = found["voxels"]
        if not names:
            raise InputError(
                f"{path}: has no segments; save a segmentation of 3D Slicer, or call it .nrrd if "
                "it is a label map"
            )
        nothing = voxels.size == 1  # what 3D Slicer writes where all segments are empty
        segments = []
        for segment, name in zip(found["segments"], names, strict=True):
            if nothing:
                mask = np.zeros(shape, bool)
            else:
                own = slicerio.segment_mask(found, segment)
                mask = onto_section(own, LPS @ found["ijkToLPS"], section, shape, path)
            segments.append((name, mask))
    return segments


def _names(data: bytes) -> list[str]:
    """Names of segments as they stand: pynrrd drops what is not ASCII."""
    header = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0].decode("utf-8", "replace")
    found = re.findall(r"^Segment(\d+)_Name:=(.*?)\s*$", header, re.MULTILINE)
    return [name for _, name in sorted((int(number), name) for number, name in found)]
