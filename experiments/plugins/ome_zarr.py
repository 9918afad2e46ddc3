"""Reads OME-Zarr: `--images=x.ome.zarr`, and labels in one of the same shape (needs `zarr`).

Axes z, y, x are sections, rows and columns; the axis c, if there is one, has the channels. Only the
full resolution is read.
"""

import pathlib
from typing import Any

import numpy as np
import zarr

from al_jax.files.registry import register_reader


def read_ome_zarr(path: pathlib.Path) -> np.ndarray:
    """[N, H, W] or [N, H, W, K], the numbers as they are stored."""
    group = zarr.open_group(path, mode="r")
    attributes: Any = group.attrs.asdict()
    image = attributes.get("ome", attributes)["multiscales"][0]  # since 0.5, and before
    array = np.asarray(group[image["datasets"][0]["path"]])
    channels = [n for n, axis in enumerate(image["axes"]) if axis.get("type") == "channel"]
    return np.moveaxis(array, channels[0], -1) if channels else array


register_reader(".ome.zarr", read_ome_zarr)
