"""The network's pieces against scikit-image and by hand; its shapes and invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from skimage.measure import block_reduce

from al_jax.model import networks
from al_jax.model.protocol import cast_params

CLASSES = 4


@functools.cache
def _network(name="small"):
    return networks.NETWORKS[name](CLASSES)


@functools.cache
def _apply(name="small"):
    network = _network(name)
    return jax.jit(lambda params, x, key=None: network.apply({"params": params}, x, key))


@functools.cache
def _shapes(name, num_classes=CLASSES):
    """Shapes of all parameters as {(layer, part): shape}; nothing is made."""
    network = networks.NETWORKS[name](num_classes)
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


@pytest.mark.parametrize("downsampling", [2, 3])
def test_what_is_said_of_a_downsampled_image_lies_where_its_pixels_do(downsampling):
    """Decoding alone, of scores that are a ramp: [h / 4] places of the finest layer, made whole."""
    network = networks.FCN(1, width=1 / 8, fc_features=0, finest=2)
    height, width = 32 * downsampling - 1, 32 * downsampling
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
        downsampling=downsampling,
    )
    assert found.shape == (1, height, width, 1)
    expected = (np.arange(height) + 0.5) / (4 * downsampling) - 0.5
    inner = (expected > 0) & (expected < 7)
    np.testing.assert_allclose(found[0, inner, 5, 0], expected[inner], atol=1e-5)


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


@pytest.mark.slow
def test_cast_params_change_nothing_but_when_they_are_cast():
    network = networks.FCN(3, width=1 / 32, fc_features=4, dtype=jnp.bfloat16)
    params = tiny.weights(network, heads=True)
    cast = cast_params(params, network)
    kinds = {layer: parts["kernel"].dtype for layer, parts in cast.items()}
    assert kinds.pop("fc6") == kinds.pop("block1_conv1") == jnp.bfloat16
    assert {kinds[layer] for layer in kinds if layer.startswith("score")} == {jnp.dtype("float32")}
    x = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    np.testing.assert_array_equal(
        network.apply({"params": cast}, x), network.apply({"params": params}, x)
    )
