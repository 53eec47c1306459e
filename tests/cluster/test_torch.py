# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The images with torch: a Job trains an LSTM, and a pool of its own answers with it, beside one without torch.

They are 6 GB each, so the tests run where DRAGOMAN_TEST_TORCH is set: `make images ONLY=worker-torch,trainer-torch`.
"""

import os
import time
from pathlib import Path

import pytest

from tests.cluster.installation import known_rows
from tests.cluster.kubectl import until
from tests.cluster.places import VALUES
from tests.faults.figures import note

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("DRAGOMAN_TEST_TORCH" not in os.environ, reason="DRAGOMAN_TEST_TORCH is not set"),
]

VALUES_TORCH = Path(__file__).with_name("torch.yaml")
RECIPE = Path(__file__).with_name("lstm.yaml")
TRAINER = "app.kubernetes.io/name=dragoman-trainer"


@pytest.fixture(scope="module")
def with_torch(installation):
    installation.upgrade(VALUES, VALUES_TORCH)
    installation.until_ready()
    yield installation
    installation.upgrade(VALUES)
    installation.until_ready()


def images(kubectl, selector: str) -> set[str]:
    """The pods' images, by the last part of their names."""
    return {
        container["image"].rsplit("/", 1)[-1].split(":")[0]
        for pod in kubectl.pods(selector)
        for container in pod["spec"]["containers"]
    }


def answers(installation, model: str) -> list[str]:
    """The labels that the sample's texts get."""
    texts = "".join(f"{text}\n" for text, _ in known_rows())
    return [line.split("\t")[0] for line in installation.dragoman("predict", model, stdin=texts).splitlines()]


def test_an_lstm_that_a_job_trains_is_answered_with_by_the_pool_that_has_torch(kubectl, with_torch):
    writing = ["exec", "--stdin", "deployment/dragoman-client", "--", "sh", "-c", "cat >/tmp/lstm.yaml"]
    kubectl.run(*writing, stdin=RECIPE.read_text())
    began_s = time.monotonic()
    with_torch.dragoman("train", "/tmp/lstm.yaml", "--model=lstm", "--request-id=lstm-1", timeout_s=600)
    trained_s = time.monotonic() - began_s
    assert "dragoman-trainer-torch" in images(kubectl, TRAINER)
    with_torch.dragoman("alias", "lstm", "prod", "1", "--reason=the first")
    found = until(lambda: answers(with_torch, "lstm"), "answers of the LSTM", limit_s=180, every_s=1)
    answered_s = time.monotonic() - began_s - trained_s
    labels = [label for _, label in known_rows()]
    assert sum(map(str.__eq__, found, labels)) >= 18, found
    assert images(kubectl, "app.kubernetes.io/component=worker-torch") == {"dragoman-worker-torch"}
    # The other pool is as it was: neither torch nor the LSTM.
    assert images(kubectl, "app.kubernetes.io/component=worker-cpu") == {"dragoman-worker-lite"}
    assert answers(with_torch, "sample") == labels
    note(f"an LSTM by images with torch: trained in {trained_s:.0f} s, answering {answered_s:.0f} s after its alias")
