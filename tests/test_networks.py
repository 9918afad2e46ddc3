"""The network's pieces against JAX, scikit-image and by hand; its shapes and invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file
from skimage.measure import block_reduce

from al_jax.core.stack import InputError
from al_jax.files.weights import read_weights
from al_jax.model import networks

CLASSES = 4


@functools.cache
def _network(name="small"):
    return networks.make_network(name, CLASSES)


@functools.cache
def _apply(name="small"):
    network = _network(name)
    return jax.jit(lambda params, x, key=None: network.apply({"params": params}, x, key))


@functools.cache
def _shapes(name, num_classes=CLASSES):
    """Shapes of all parameters as {(layer, part): shape}; nothing is made."""
    network = networks.make_network(name, num_classes)
    init = functools.partial(network.init, jax.random.key(0))
    tree = jax.eval_shape(init, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))["params"]
    return {(layer, part): p.shape for layer, parts in tree.items() for part, p in parts.items()}


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 2, 2, 1)])
def test_max_pool_is_a_block_maximum(shape):
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(networks.max_pool(x), block_reduce(x, (1, 2, 2, 1), np.max))
    # Without ties the gradient goes to the largest of each block alone.
    gradient = jax.grad(lambda x: networks.max_pool(x).sum())(x)
    largest = np.kron(block_reduce(x, (1, 2, 2, 1), np.max), np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient, x == largest)


def test_reduced_by_hand():
    image = np.array([[0, 2, 9], [4, 4, 8], [6, 1, 7]], np.uint8)[..., None]
    found = networks.reduced(image, 2)
    assert found.dtype == jnp.uint8
    # Means of four pixels, of which the last row and column stand twice: 2.5 goes to the even one.
    np.testing.assert_array_equal(found[..., 0], [[2, 8], [4, 7]])
    np.testing.assert_array_equal(networks.thinned(image[..., 0], 2), [[4, 8], [1, 7]])
    assert networks.reduced(image, 1) is image


@pytest.mark.parametrize("factor", [2, 3])
def test_reduced_is_the_mean_of_blocks(factor):
    image = np.random.default_rng(3).normal(size=(6, 12, 3)).astype(np.float32)
    expected = block_reduce(image, (factor, factor, 1), np.mean)
    np.testing.assert_allclose(networks.reduced(image, factor), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", [2, 3])
def test_what_is_said_of_a_reduced_image_lies_where_its_pixels_do(reduction):
    """Decoding alone, of scores that are a ramp: [h / 4] places of the finest layer, made whole."""
    network = networks.FCN(1, width=1 / 8, fc_features=0, finest=2)
    height, width = 32 * reduction - 1, 32 * reduction
    pools = tuple(jnp.zeros((1, 32 // 2**n, 32 // 2**n, f)) for n, f in ((2, 16), (3, 32)))
    pools += tuple(jnp.zeros((1, 32 // 2**n, 32 // 2**n, 64)) for n in (4, 5))
    ramp = jnp.arange(8.0)[None, :, None, None] * jnp.ones((1, 8, 8, 16)) / 16
    scores = {"kernel": jnp.ones((1, 1, 16, 1)), "bias": jnp.zeros(1)}
    params = {
        f"score{n}": {"kernel": jnp.zeros((1, 1, f, 1)), "bias": jnp.zeros(1)}
        for n, f in ((3, 32), (4, 64), (5, 64))
    } | {"score2": scores}
    found = network.apply(
        {"params": params},
        (ramp, *pools[1:]),
        (height, width),
        method="decode",
        reduction=reduction,
    )
    assert found.shape == (1, height, width, 1)
    expected = (np.arange(height) + 0.5) / (4 * reduction) - 0.5
    inner = (expected > 0) & (expected < 7)
    np.testing.assert_allclose(found[0, inner, 5, 0], expected[inner], atol=1e-5)


def test_upsample_by_hand():
    x = jnp.array([0.0, 4.0, 8.0]).reshape(1, 1, 3, 1)
    found = networks.upsample(x, 2)
    assert found.shape == (1, 2, 6, 1)
    np.testing.assert_allclose(found[0, :, :, 0], [[0, 1, 3, 5, 7, 8]] * 2, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsample_keeps_a_ramp_where_it_is(factor):
    # A pixel of the coarse grid covers `factor` fine ones: its centre is at (k + 1/2) factor - 1/2.
    y, x = np.mgrid[:5, :6].astype(np.float32)
    coarse = 3 * ((y + 0.5) * factor - 0.5) - 2 * ((x + 0.5) * factor - 0.5)
    fine = networks.upsample(coarse[None, :, :, None], factor)[0, :, :, 0]
    y, x = np.mgrid[: 5 * factor, : 6 * factor]
    interior = np.s_[factor:-factor, factor:-factor]
    np.testing.assert_allclose(fine[interior], (3 * y - 2 * x)[interior], atol=1e-4)


@pytest.mark.parametrize(("size", "factor"), [((1, 1), 2), ((3, 5), 8), ((6, 4), 3)])
def test_upsample_and_its_gradient_are_jaxs(size, factor):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    shape = (2, factor * size[0], factor * size[1], 3)
    direction = rng.normal(size=shape).astype(np.float32)

    def both(upsample):
        value, pull = jax.vjp(upsample, x)
        return value, *pull(direction)

    expected = both(lambda x: jax.image.resize(x, shape, "bilinear"))
    found = jax.jit(lambda: both(lambda x: networks.upsample(x, factor)))()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (40, 70), (33, 1)])
def test_logits_have_the_size_of_the_input(size):
    network = _network()
    x = np.random.default_rng(3).normal(size=(2, *size, 3)).astype(np.float32)
    found = jax.eval_shape(network.apply, {"params": tiny.weights(network)}, x)
    assert found.shape == (2, *size, CLASSES) and found.dtype == jnp.float32


def test_zero_heads_give_zero_logits():
    network, x = _network(), np.random.default_rng(4).normal(size=(1, 40, 70, 3))
    logits = _apply()(tiny.weights(network), x.astype(np.float32))
    assert logits.shape == (1, 40, 70, CLASSES)
    np.testing.assert_array_equal(logits, 0)


def test_parameters_of_full():
    shapes = _shapes("full")
    convolutions = [k for k in shapes if k[0].startswith("block") and k[1] == "kernel"]
    assert len(convolutions) == 13
    features = {"block1": (2, 64), "block2": (2, 128), "block3": (3, 256), "block4": (3, 512)}
    incoming = 3
    for block, (layers, outgoing) in {**features, "block5": (3, 512)}.items():
        for index in range(1, layers + 1):
            assert shapes[f"{block}_conv{index}", "kernel"] == (3, 3, incoming, outgoing)
            assert shapes[f"{block}_conv{index}", "bias"] == (outgoing,)
            incoming = outgoing
    assert shapes["fc6", "kernel"] == (7, 7, 512, 4096)
    assert shapes["fc7", "kernel"] == (1, 1, 4096, 4096)
    scores = {k[0]: v for k, v in shapes.items() if k[0].startswith("score") and k[1] == "kernel"}
    assert scores == {
        "score3": (1, 1, 256, CLASSES),
        "score4": (1, 1, 512, CLASSES),
        "score5": (1, 1, 4096, CLASSES),
    }
    assert len(shapes) == 2 * (13 + 2 + 3)
    assert sum(map(np.prod, shapes.values())) > 134e6


def test_parameters_of_small():
    shapes = _shapes("small")
    assert shapes["block1_conv1", "kernel"] == (3, 3, 3, 8)
    assert shapes["block5_conv3", "kernel"] == (3, 3, 64, 64)
    assert shapes["fc6", "kernel"] == (3, 3, 64, 128)
    assert sorted({k[0] for k in shapes if "score" in k[0]}) == [f"score{b}" for b in (2, 3, 4, 5)]
    assert shapes["score2", "kernel"] == (1, 1, 16, CLASSES)
    assert len(shapes) == 2 * (13 + 2 + 4)


def test_without_fc():
    network = networks.FCN(CLASSES, width=1 / 16, fc_features=0)
    params = tiny.weights(network, heads=True)
    assert "fc6" not in params and params["score5"]["kernel"].shape == (1, 1, 32, CLASSES)
    logits = jax.eval_shape(network.apply, {"params": params}, jnp.zeros((1, 45, 32, 3)))
    assert logits.shape == (1, 45, 32, CLASSES)


@pytest.mark.parametrize("zero", [False, True])
def test_drawn_weights(zero):
    layer = networks.Convolution(32, zero=zero)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 16)))["params"]
    assert not np.asarray(params["bias"]).any()
    kernel = np.asarray(params["kernel"])
    assert kernel.shape == (3, 3, 16, 32) and kernel.dtype == np.float32
    if zero:
        assert not kernel.any()
    else:
        assert abs(kernel.std() / np.sqrt(2 / (9 * 16)) - 1) < 5 / np.sqrt(2 * kernel.size)


def test_dropout_needs_a_key():
    params = tiny.weights(_network(), heads=True)
    x = np.random.default_rng(5).normal(size=(1, 40, 70, 3)).astype(np.float32)
    plain = [np.asarray(_apply()(params, x)) for _ in range(2)]
    np.testing.assert_array_equal(*plain)
    key = jax.random.key
    dropped = [np.asarray(_apply()(params, x, k)) for k in (key(0), key(0), key(1))]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert not np.allclose(dropped[0], dropped[2])
    assert not np.allclose(dropped[0], plain[0])


def test_dropout_halves_and_doubles():
    # One fc layer of 1 x 1 that passes its input on, one that sums: logits count what was kept.
    network = networks.FCN(1, width=1 / 64, fc_features=400, fc_size=1, finest=5)
    params = jax.tree.map(jnp.zeros_like, tiny.weights(network))
    params["fc6"]["bias"] += 1.0
    params["fc7"]["kernel"] += jnp.eye(400)
    params["score5"]["kernel"] += 1 / 400
    apply = jax.jit(
        jax.vmap(lambda k: network.apply({"params": params}, jnp.zeros((1, 32, 32, 3)), k))
    )
    kept = np.asarray(apply(jax.random.split(jax.random.key(6), 200)))[:, 0, 0, 0, 0]
    np.testing.assert_allclose(4 * np.round(kept * 100), 400 * kept, atol=1e-2)  # 4 x an integer
    assert abs(kept.mean() - 1) < 0.05  # two dropouts of one half, both scaled up
    assert 0.05 < kept.std() < 0.13  # sqrt(3 / 400)


def test_moving_the_input_moves_the_logits():
    network = _network()
    params = tiny.weights(network, heads=True)
    x = np.random.default_rng(7).normal(size=(1, 32, 672, 3)).astype(np.float32)
    here, there = (np.asarray(_apply()(params, part)) for part in (x[:, :, :640], x[:, :, 32:672]))
    assert np.abs(here).max() > 1e-2
    margin = 224  # more than the receptive field reaches to either side
    np.testing.assert_allclose(
        here[:, :, margin + 32 : -margin], there[:, :, margin : -margin - 32], atol=1e-5
    )
    assert not np.allclose(here[:, :, margin:-margin], there[:, :, margin:-margin], atol=1e-3)


def test_encode_and_decode_are_the_whole():
    network = _network()
    params = {"params": tiny.weights(network, heads=True)}
    x = np.random.default_rng(8).normal(size=(1, 40, 70, 3)).astype(np.float32)

    @jax.jit
    def pieces(x):
        pools = network.apply(params, x, method="encode")
        return pools, network.apply(params, pools, x.shape[1:3], method="decode")

    pools, logits = pieces(x)
    assert [p.shape[1:3] for p in pools] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    np.testing.assert_allclose(logits, _apply()(params["params"], x), atol=1e-5)


def test_unknown_network():
    with pytest.raises(ValueError, match="'fcn' is not one of full, full_without_fc, small"):
        networks.make_network("fcn", 3)


def test_input_of_the_networks_own_convention():
    grey = np.random.default_rng(9).random((3, 4, 1)).astype(np.float32)
    found = networks.network_input(grey, "plain")
    assert found.shape == (3, 4, 3)
    for channel in range(3):
        np.testing.assert_allclose(found[..., channel], 2 * grey[..., 0] - 1, atol=1e-6)


def test_input_of_the_published_weights():
    # Red, green, blue in; blue, green, red out, minus the mean of ImageNet in that order.
    image = np.array([[[1.0, 0.5, 0.0]]], np.float32)
    expected = [0 - 103.939, 127.5 - 116.779, 255 - 123.68]
    np.testing.assert_allclose(networks.network_input(image, "caffe")[0, 0], expected, rtol=1e-5)
    grey = networks.network_input(np.full((1, 1, 1), 0.2, np.float32), "caffe")
    np.testing.assert_allclose(grey[0, 0], 51 - np.array([103.939, 116.779, 123.68]), rtol=1e-5)


def test_input_of_torchvision():
    image = np.array([[[1.0, 0.5, 0.0]]], np.float32)
    expected = [0.515 / 0.229, 0.044 / 0.224, -0.406 / 0.225]
    found = networks.network_input(image, "torchvision")
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4)
    grey = networks.network_input(np.full((1, 1, 1), 0.485, np.float32), "torchvision")
    np.testing.assert_allclose(grey[0, 0], [0, 0.029 / 0.224, 0.079 / 0.225], atol=1e-6)


def test_unknown_convention():
    with pytest.raises(ValueError, match="'bgr' is not one of plain, caffe, torchvision"):
        networks.network_input(np.zeros((1, 1, 1)), "bgr")


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
    rounded = jax.tree.map(lambda a: np.asarray(jnp.asarray(a, dtype)), tiny.weights(network))
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
        np.asarray(encode(params, networks.network_input(image, convention)[None]))[0]
        for params, convention in (
            (vgg_params, "torchvision"),
            (vgg_params | {"block1_conv1": jax.tree.map(jnp.float32, folded)}, "caffe"),
        )
    ]
    assert pool3[0].shape == (12, 12, 256)
    one, two = (features[3:-3, 3:-3] for features in pool3)
    np.testing.assert_allclose(one, two, atol=1e-4 * np.abs(one).max())


def test_the_published_weights(shared):
    path = shared / "weights/vgg16_imagenet_conv13_f16.npz"
    if not path.is_file():
        pytest.skip(f"no weights at {path}")
    weights = read_weights(path)
    params = networks.with_weights(tiny.weights(VGG), weights.arrays)
    grey = np.random.default_rng(13).random((32, 32, 1)).astype(np.float32)
    x = networks.network_input(grey, weights.convention)[None]
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


def test_normalisation_looks_at_the_inside_only():
    image = np.array([[[10], [30]], [[50], [255]]], np.uint8)
    inside = np.array([[True, True], [True, False]])
    low, high = networks.intensity_range(image, inside)
    assert (low, high) == (10, 50)
    found = networks.normalise(image, low, high)
    np.testing.assert_allclose(found[..., 0], [[0, 0.5], [1, 1]], atol=1e-6)
    # A section of one grey, and one without an inside, are finite.
    for section, domain in ((np.full_like(image, 7), inside), (image, np.zeros_like(inside))):
        bounds = networks.intensity_range(section, domain)
        found = networks.normalise(section, *bounds)
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_the_intensity_range_is_over_all_channels_of_the_inside_pixels():
    # The darkest and the brightest pixel lie outside.
    image = np.array([[[0, 1, 2], [40, 30, 60]], [[50, 70, 20], [253, 254, 255]]], np.uint8)
    inside = np.array([[False, True], [True, False]])
    assert networks.intensity_range(image, inside) == (20, 70)
    assert networks.intensity_range(image, ~inside) == (0, 255)
    # Nothing inside: as if the pixels were normalised already.
    assert networks.intensity_range(image, np.zeros_like(inside)) == (0, 1)
    # Signed floats, nothing above zero.
    assert networks.intensity_range(np.float32([[[-3], [-2]]]), np.ones((1, 2), bool)) == (-3, -2)


def test_normalise_by_hand():
    image = np.array([[[-5.0], [0.0]], [[2.5], [30.0]]], np.float32)
    found = networks.normalise(image, jnp.float32(-2.5), jnp.float32(7.5))
    np.testing.assert_allclose(found[..., 0], [[0, 0.25], [0.5, 1]], rtol=1e-6)
    assert found.dtype == jnp.float32
    # Integers are not subtracted as integers, and a range below 1 is a range.
    found = networks.normalise(np.uint8([[[3]]]), jnp.float32(5), jnp.float32(6))
    np.testing.assert_array_equal(found, [[[0]]])
    found = networks.normalise(np.float32([[[0.25]]]), jnp.float32(0.2), jnp.float32(0.4))
    np.testing.assert_allclose(found, [[[0.25]]], rtol=1e-5)


def test_cast_params_change_nothing_but_when_they_are_cast():
    network = networks.FCN(3, width=1 / 32, fc_features=4, dtype=jnp.bfloat16)
    params = tiny.weights(network, heads=True)
    cast = networks.cast_params(params, network)
    kinds = {layer: parts["kernel"].dtype for layer, parts in cast.items()}
    assert kinds.pop("fc6") == kinds.pop("block1_conv1") == jnp.bfloat16
    assert {kinds[layer] for layer in kinds if layer.startswith("score")} == {jnp.dtype("float32")}
    x = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    np.testing.assert_array_equal(
        network.apply({"params": cast}, x), network.apply({"params": params}, x)
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-3, 1.0, 1e9, 1e30])
def test_min_max_does_not_depend_on_the_unit(scale):
    image = np.array([[[0.0], [1.0]], [[2.0], [4.0]]], np.float32) * np.float32(scale)
    inside = np.ones((2, 2), bool)
    found = networks.normalise(image, *networks.intensity_range(image, inside))
    np.testing.assert_allclose(found[..., 0], [[0, 0.25], [0.5, 1]], rtol=1e-5)


def test_min_max_of_the_widest_range_and_of_none():
    image = np.array([[[-3e38], [0.0], [3e38]]], np.float32)
    found = networks.normalise(image, *networks.intensity_range(image, np.ones((1, 3), bool)))
    np.testing.assert_allclose(found[..., 0], [[0, 0.5, 1]], rtol=1e-6)
    flat = np.full((2, 2, 1), 7.0, np.float32)
    found = networks.normalise(flat, *networks.intensity_range(flat, np.ones((2, 2), bool)))
    np.testing.assert_array_equal(found, 0)


def test_the_intensity_range_is_that_of_the_inside():
    image = np.array([[[5.0], [9.0]], [[-100.0], [700.0]]], np.float32)
    inside = np.array([[True, True], [False, False]])
    assert tuple(map(float, networks.intensity_range(image, inside))) == (5.0, 9.0)
