# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from dragoman_models.classifier import softmax
from dragoman_trainer.temperature import HIGHEST, LOWEST, fit_temperature, mean_nll


def _logits(scale, seed=0):
    """Logits whose softmax, divided by ``scale``, is the distribution that the labels were drawn from."""
    generator = np.random.default_rng(seed)
    true_logits = generator.normal(0, 2, (4000, 5))
    labels = np.array([generator.choice(5, p=row / row.sum()) for row in softmax(true_logits).astype(float)])
    return (true_logits * scale).astype(np.float32), labels


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_a_known_temperature_is_recovered(scale):
    logits, labels = _logits(scale)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.05)


def test_the_minimum_equals_scipys():
    logits, labels = _logits(3.0)
    oracle = minimize_scalar(lambda log_t: mean_nll(logits / np.exp(log_t), labels), bounds=(-4, 4), method="bounded")
    assert fit_temperature(logits, labels) == pytest.approx(float(np.exp(oracle.x)), rel=1e-3)


def test_extreme_rows_stay_within_the_bounds_that_model_json_accepts():
    labels = np.zeros(50, dtype=np.int64)
    right = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (50, 1))
    assert fit_temperature(right, labels) == pytest.approx(LOWEST, rel=1e-3)
    assert fit_temperature(right[:, ::-1], labels) == pytest.approx(HIGHEST, rel=1e-3)
    assert LOWEST >= 0.01
    assert HIGHEST <= 100


def test_huge_logits_give_a_finite_loss():
    logits = np.array([[1e30, -1e30]], dtype=np.float32)
    assert mean_nll(logits, np.array([0])) == 0.0
