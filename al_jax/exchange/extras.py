"""Packages that only exchange with other tools needs: imported when they are used."""

import importlib
from types import ModuleType

from al_jax.core.stack import InputError


def needed(module: str, purpose: str) -> ModuleType:
    """A module of the extra `annotate`.

    Args:
      module: its name, such as 'rasterio.features'.
      purpose: what it is needed for, such as 'GeoJSON', for the message.

    Raises:
      InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs the package {module.partition('.')[0]} ({error}); install it with "
            "pip install 'al_jax[annotate]', or choose another format"
        ) from error
