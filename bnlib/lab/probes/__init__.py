"""Measurements on a model while it trains: of activations, of weights, of what shifts."""

from bnlib.lab.probes.activations import channel_noise, recalibrated, sigmoid_inputs
from bnlib.lab.probes.shift import (
    covariate_shift,
    distribution_shift,
    gradient_shift,
    noisy_accuracy,
    sgd_step,
)
from bnlib.lab.probes.weights import (
    Update,
    lengths,
    parameter_groups,
    rescaling,
    scale_invariant,
    updates,
)

__all__ = [
    "Update",
    "channel_noise",
    "covariate_shift",
    "distribution_shift",
    "gradient_shift",
    "lengths",
    "noisy_accuracy",
    "parameter_groups",
    "recalibrated",
    "rescaling",
    "scale_invariant",
    "sgd_step",
    "sigmoid_inputs",
    "updates",
]
