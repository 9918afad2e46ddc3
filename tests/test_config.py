"""Names that settings do not know are refused."""

import pytest

from al_jax.learner.config import DEFAULT, changed
from al_jax.model.config import Training


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="optimiser 'lion' is not one of adamw, sgd"):
        Training(optimiser="lion")


def test_unknown_network():
    with pytest.raises(ValueError, match="'fcn' is not one of full, full_without_fc, small"):
        changed(DEFAULT, {"network": "fcn"})
