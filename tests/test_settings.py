"""Settings that say what they may be."""

import dataclasses

import jax
import pytest

from al_jax.core.settings import check_settings, leaves, setting


@dataclasses.dataclass(frozen=True)
class Inner:
    share: float = setting(0.5, "A share.", 0, 1)
    kind: str = setting("round", "Its kind.", choices=("round", "square"))

    def __post_init__(self):
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int = setting(3, "How many.", 1, flag=False)
    inner: Inner = Inner()
    maker: type = Inner
    plain: float = -1.0

    def __post_init__(self):
        check_settings(self)


def test_a_setting_is_a_default_that_says_what_it_is():
    field = dataclasses.fields(Outer)[0]
    assert Outer().count == field.default == 3
    assert dict(field.metadata) == {
        "text": "How many.",
        "low": 1,
        "high": None,
        "choices": (),
        "flag": False,
    }
    assert dataclasses.fields(Inner)[1].metadata["choices"] == ("round", "square")


@pytest.mark.parametrize(
    ("bundle", "values", "says"),
    [
        (Inner, {"share": 1.5}, "share is 1.5; it must be at most 1"),
        (Inner, {"share": -0.5}, "share is -0.5; it must be at least 0"),
        (Outer, {"count": 0}, "count is 0; it must be at least 1"),
        (Inner, {"kind": "oval"}, "kind 'oval' is not one of round, square"),
    ],
)
def test_what_a_setting_may_not_be_is_said(bundle, values, says):
    with pytest.raises(ValueError, match=f"^{says}$"):
        bundle(**values)


def test_bounds_are_allowed():
    assert (Inner(share=0).share, Inner(share=1.0).share, Outer(count=1).count) == (0, 1, 1)
    assert Outer(count=10**9).count == 10**9


def test_a_number_that_is_traced_passes():
    tree = jax.tree_util.register_dataclass(Inner, data_fields=("share",), meta_fields=("kind",))

    @jax.jit
    def twice(inner):
        return 2 * dataclasses.replace(inner, share=inner.share + 5).share

    assert twice(tree()) == 11
    assert jax.tree.map(lambda _: object(), Inner()).kind == "round"


def test_leaves_are_the_fields_of_the_tree():
    found = {field.name: value for field, value in leaves(Outer(count=7))}
    assert found == {"count": 7, "share": 0.5, "kind": "round", "maker": Inner, "plain": -1.0}
