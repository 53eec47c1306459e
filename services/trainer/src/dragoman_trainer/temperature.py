# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One number that makes a classifier's scores honest: the temperature its logits are divided by.

Owns the fit, on held-out rows. It changes no answer, because dividing by a positive number keeps the order.

Source: Guo et al., On Calibration of Modern Neural Networks, 2017, section 4.2; deviation: golden-section search
on the logarithm, since the loss has one minimum there.
"""

import math

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.02, 50.0
_STEPS = 60
_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits_NC: NDArray[np.float32], labels_N: NDArray[np.int64]) -> float:
    """Return the temperature in [0.02, 50] with the lowest mean negative log-likelihood on these rows."""
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if mean_nll(logits_NC / math.exp(left), labels_N) <= mean_nll(logits_NC / math.exp(right), labels_N):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def mean_nll(logits_NC: NDArray[np.floating], labels_N: NDArray[np.int64]) -> float:
    """Return the mean negative natural log of the softmax at the true labels, as sum by count, in float64."""
    logits = logits_NC.astype(np.float64)
    highest = logits.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((log_total - logits[np.arange(len(labels_N)), labels_N]).sum() / len(labels_N))
