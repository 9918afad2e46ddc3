"""Half precision by integers: XLA cannot convert it on CPUs without F16C (those before AVX2)."""

import jax
import jax.numpy as jnp
import numpy as np

_SHIFT = 13  # float32 has so many more bits of mantissa
_REBIAS = 112  # and so much more of exponent
_STEP = np.float32(2.0**-24)  # between float16 below 2^-14


def from_half(x: jax.Array) -> jax.Array:
    """A finite float16 array as float32, exactly."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int16).astype(jnp.int32)
    size = bits & 0x7FFF
    normal = jax.lax.bitcast_convert_type((size << _SHIFT) + (_REBIAS << 23), jnp.float32)
    small = size.astype(jnp.float32) * _STEP
    found = jnp.where(size < 0x400, small, normal)
    return jnp.where(bits < 0, -found, found)


def to_half(x: jax.Array) -> jax.Array:
    """float32 in [0, 65504) as the nearest float16, of two the even one."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32) - (_REBIAS << 23)
    normal = (bits + 0xFFF + (bits >> _SHIFT & 1)) >> _SHIFT
    small = jnp.round(x / _STEP).astype(jnp.int32)
    found = jnp.where(x < 2.0**-14, small, normal)
    return jax.lax.bitcast_convert_type(found.astype(jnp.int16), jnp.float16)
