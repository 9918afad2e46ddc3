"""The network's pieces against JAX, scikit-image and by hand; its shapes and invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from skimage.measure import block_reduce

from al_jax import networks

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
    with pytest.raises(ValueError, match="'fcn' is not one of full, small"):
        networks.make_network("fcn", 3)


def test_input_of_the_networks_own_convention():
    grey = np.random.default_rng(9).random((3, 4, 1)).astype(np.float32)
    found = networks.network_input(grey, caffe=False)
    assert found.shape == (3, 4, 3)
    for channel in range(3):
        np.testing.assert_allclose(found[..., channel], 2 * grey[..., 0] - 1, atol=1e-6)


def test_input_of_the_published_weights():
    # Red, green, blue in; blue, green, red out, minus the mean of ImageNet in that order.
    image = np.array([[[1.0, 0.5, 0.0]]], np.float32)
    expected = [0 - 103.939, 127.5 - 116.779, 255 - 123.68]
    np.testing.assert_allclose(networks.network_input(image, True)[0, 0], expected, rtol=1e-5)
    grey = networks.network_input(np.full((1, 1, 1), 0.2, np.float32), True)
    np.testing.assert_allclose(grey[0, 0], 51 - np.array([103.939, 116.779, 123.68]), rtol=1e-5)


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
