"""Published weights of VGG-16."""

import os
from typing import NamedTuple

import numpy as np
import safetensors

from al_jax.core.stack import InputError
from al_jax.files.claims import check_archive
from al_jax.files.reading import full_path, reading

TORCHVISION = {
    f"block{block}_conv{index}": first + 2 * (index - 1)
    for block, (first, layers) in enumerate(((0, 2), (5, 2), (10, 3), (17, 3), (24, 3)), 1)
    for index in range(1, layers + 1)
}
"""The number that torchvision gives each convolution of VGG-16 in `features`."""


class Weights(NamedTuple):
    """Weights of VGG-16, for `networks.with_weights`, and the input they expect.

    Attributes:
      arrays: `block<b>_conv<c>_kernel` [h, w, I, O] and `block<b>_conv<c>_bias` [O].
      convention: of `networks.network_input`.
    """

    arrays: dict[str, np.ndarray]
    convention: str


def read_weights(path: str | os.PathLike) -> Weights:
    """Reads published weights of VGG-16; what else is in the file is left alone.

    Args:
      path: .safetensors in torchvision's layout (`features.0.weight` [O, I, h, w], ...), for its
        input; anything else is an npz with the names of `Weights`, for Caffe's.

    Raises:
      InputError: the file is missing, damaged or of another kind, a layer of torchvision's is
        missing or is not a convolution, or a value is not finite.
    """
    path = full_path(path)
    if path.suffix == ".safetensors":
        weights = Weights(_read_torchvision(path), "torchvision")
    else:
        check_archive(path)
        with reading(path, "an npz file"), np.load(path, allow_pickle=False) as archive:
            weights = Weights({key: archive[key] for key in archive}, "caffe")
    for key, value in weights.arrays.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise InputError(f"{path}: '{key}' holds no finite numbers; take the published file")
    return weights


def _read_torchvision(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The 13 convolutions of torchvision's VGG-16 as `Weights.arrays`, float32."""
    arrays = {}
    with (
        reading(path, "a safetensors file"),
        safetensors.safe_open(path, framework="numpy") as file,
    ):
        held = set(file.keys())
        for layer, index in TORCHVISION.items():
            for part, kind, axes in (("bias", "bias", 1), ("weight", "kernel", 4)):
                key = f"features.{index}.{part}"
                if key not in held:
                    raise InputError(f"{path}: has no '{key}'; take torchvision's VGG-16")
                value = file.get_tensor(key).astype(np.float32)  # half of either kind, too
                if value.ndim != axes:
                    raise InputError(
                        f"{path}: '{key}' has shape {list(value.shape)}; take torchvision's VGG-16"
                    )
                arrays[f"{layer}_{kind}"] = value.transpose(2, 3, 1, 0) if axes == 4 else value
    return arrays
