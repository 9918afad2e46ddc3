"""Weights of both published files, and the networks that take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file

from al_jax.core.stack import InputError
from al_jax.files.weights import read_weights
from al_jax.model import networks
from al_jax.model.inputs import network_input

CLASSES = 4

VGG = networks.FCN(CLASSES, fc_features=0)  # all of the 13 convolutions


@pytest.fixture(scope="module")
def vgg_params():
    """Drawn weights of full width, with biases."""
    rng = np.random.default_rng(11)
    return {
        layer: {"kernel": p["kernel"], "bias": rng.normal(0, 0.1, p["bias"].shape).astype("f4")}
        for layer, p in tiny.weights(VGG).items()
        if layer.startswith("block")
    }


def in_torchvision(params):
    """The arrays of a safetensors file that holds `params`, and a classifier to be ignored."""
    indices = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    arrays = {"pre_logits.fc1.weight": np.zeros((2, 2, 7, 7), np.float32)}
    for index, layer in zip(indices, sorted(params), strict=True):
        kernel = np.asarray(params[layer]["kernel"]).transpose(3, 2, 0, 1)
        arrays[f"features.{index}.weight"] = np.ascontiguousarray(kernel)
        arrays[f"features.{index}.bias"] = np.asarray(params[layer]["bias"])
    return arrays


def in_caffe(params):
    """The arrays of an npz that holds `params`."""
    return {f"{layer}_{part}": a for layer, parts in params.items() for part, a in parts.items()}


def same_weights(found, expected):
    for name, array in in_caffe(expected).items():
        np.testing.assert_array_equal(found[name], array)


def test_both_files_of_one_set_of_weights(vgg_params, tmp_path):
    save_file(in_torchvision(vgg_params), tmp_path / "vgg.safetensors")
    np.savez(tmp_path / "vgg.npz", **in_caffe(vgg_params))
    scores = {layer: p for layer, p in tiny.weights(VGG).items() if layer.startswith("score")}
    blank = jax.tree.map(jnp.zeros_like, vgg_params) | scores
    for name, convention in (("vgg.safetensors", "torchvision"), ("vgg.npz", "caffe")):
        found = read_weights(tmp_path / name)
        assert found.convention == convention and len(found.arrays) == 26
        jax.tree.map(
            np.testing.assert_array_equal,
            networks.with_weights(blank, found.arrays),
            vgg_params | scores,
        )


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_weights_in_half_precision(dtype, tmp_path):
    """Every value of the layers of width 1/64 is one that half precision has."""
    network = networks.FCN(2, width=1 / 64, fc_features=0)
    rounded = jax.tree.map(lambda a: np.asarray(a).astype(jnp.dtype(dtype)), tiny.weights(network))
    params = {layer: p for layer, p in rounded.items() if layer.startswith("block")}
    save_file(in_torchvision(params), tmp_path / "half.safetensors")
    found = read_weights(tmp_path / "half.safetensors").arrays
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    same_weights(found, jax.tree.map(lambda a: a.astype(np.float32), params))


def test_conventions_differ_by_an_affine_map_and_no_more(vgg_params):
    """Folded into the first layer by hand, one convention's features are the other's.

    The zero padding of the first layer means another colour in each; it reaches 18 pixels far into
    pool3: 1 from each layer of the first block, 2 of the second, 4 of the third.
    """
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    caffe_mean = np.array([123.68, 116.779, 103.939])  # in the order of RGB
    first = vgg_params["block1_conv1"]
    kernel = np.asarray(first["kernel"], np.float64)
    shift = (caffe_mean / 255 - mean) / deviation
    folded = {
        "kernel": (kernel / (255 * deviation)[:, None])[:, :, ::-1],
        "bias": first["bias"] + np.einsum("hwio,i->o", kernel, shift),
    }
    image = np.random.default_rng(12).random((96, 96, 3)).astype(np.float32)
    encode = jax.jit(lambda params, x: VGG.apply({"params": params}, x, method="encode")[0])
    pool3 = [
        np.asarray(encode(params, network_input(image, convention)[None]))[0]
        for params, convention in (
            (vgg_params, "torchvision"),
            (vgg_params | {"block1_conv1": jax.tree.map(jnp.float32, folded)}, "caffe"),
        )
    ]
    assert pool3[0].shape == (12, 12, 256)
    one, two = (features[3:-3, 3:-3] for features in pool3)
    np.testing.assert_allclose(one, two, atol=1e-4 * np.abs(one).max())


@pytest.mark.slow
def test_the_published_weights(shared):
    path = shared / "weights/vgg16_imagenet_conv13_f16.npz"
    if not path.is_file():
        pytest.skip(f"no weights at {path}")
    weights = read_weights(path)
    params = networks.with_weights(tiny.weights(VGG), weights.arrays)
    grey = np.random.default_rng(13).random((32, 32, 1)).astype(np.float32)
    x = network_input(grey, weights.convention)[None]
    pools = jax.jit(lambda x: VGG.apply({"params": params}, x, method="encode"))(x)
    assert weights.convention == "caffe"
    assert all(np.isfinite(pool).all() and np.asarray(pool).std() > 1 for pool in pools[:2])


def _without(key):
    return lambda arrays: {k: v for k, v in arrays.items() if k != key}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without("features.5.weight"), "has no 'features.5.weight'; take torchvision's VGG-16"),
        (
            lambda arrays: arrays | {"features.7.weight": np.zeros((4, 4), np.float32)},
            r"'features.7.weight' has shape \[4, 4\]",
        ),
        (
            lambda arrays: arrays | {"features.2.bias": np.full(1, np.nan, np.float32)},
            "'block1_conv2_bias' holds no finite numbers",
        ),
    ],
    ids=["missing", "flat", "nan"],
)
def test_weights_that_are_refused(change, says, tmp_path):
    network, path = networks.FCN(2, width=1 / 64, fc_features=0), tmp_path / "bad.safetensors"
    params = {k: p for k, p in tiny.weights(network).items() if k.startswith("block")}
    save_file(change(in_torchvision(params)), path)
    with pytest.raises(InputError, match=f"bad.safetensors: .*{says}"):
        read_weights(path)


def test_a_truncated_file_of_weights(tmp_path):
    network, path = networks.FCN(2, width=1 / 64, fc_features=0), tmp_path / "bad.safetensors"
    params = {k: p for k, p in tiny.weights(network).items() if k.startswith("block")}
    save_file(in_torchvision(params), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"bad\.safetensors: cannot be read as a safetensors") as e:
        read_weights(path)
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="there is no such file"):
        read_weights(tmp_path / "none.safetensors")


def test_the_first_layer_that_does_not_fit_is_named():
    network = networks.FCN(2, width=1 / 64, fc_features=0)
    params = tiny.weights(network)
    weights = in_caffe({k: p for k, p in params.items() if k.startswith("block")})
    weights["block2_conv1_kernel"] = np.zeros((3, 3, 1, 9))
    weights["block4_conv1_kernel"] = np.zeros((3, 3, 1, 9))
    with pytest.raises(InputError, match=r"'block2_conv1_kernel' .* \[3, 3, 1, 9\], the network"):
        networks.with_weights(params, weights)
