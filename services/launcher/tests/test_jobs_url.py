# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The URL that says where jobs run."""

from urllib.parse import quote

import pytest

from dragoman_launcher.jobs_url import ClusterSettings, Toleration, parse_jobs_url

IMAGE = "registry.example/trainer@sha256:" + "ab" * 32


def test_processes_need_no_settings():
    assert parse_jobs_url("process://") is None


def test_a_cluster_is_named_with_all_that_its_jobs_share():
    settings = parse_jobs_url(
        f"kubernetes://training?image={IMAGE}&gpus=2&workers=4&queue=acme&ttl_s=7200&cpu=500m"
        "&node_selector=zone=a&node_selector=gpu=h100"
        f"&toleration={quote('nvidia.com/gpu:NoSchedule')}&toleration=team=nlp:NoExecute"
    )

    assert settings == ClusterSettings(
        namespace="training",
        image=IMAGE,
        gpus=2,
        workers=4,
        queue="acme",
        ttl_s=7200,
        cpu="500m",
        node_selector=(("zone", "a"), ("gpu", "h100")),
        tolerations=(
            Toleration(key="nvidia.com/gpu", effect="NoSchedule"),
            Toleration(key="team", value="nlp", effect="NoExecute"),
        ),
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "must be process://"),
        ("process://somewhere", "must be process://"),
        ("docker://x", "must be process://"),
        ("kubernetes://training", "image is missing"),
        (f"kubernetes://?image={IMAGE}", "namespace"),
        (f"kubernetes://Training?image={IMAGE}", "namespace"),
        (f"kubernetes://a/b?image={IMAGE}", "must be process://"),
        ("kubernetes://training?image=trainer:latest", "digest"),
        (f"kubernetes://training?image={IMAGE}&gpu=1", "'gpu' is not a key"),
        (f"kubernetes://training?image={IMAGE}&gpus=1&gpus=2", "gpus appears twice"),
        (f"kubernetes://training?image={IMAGE}&gpus=-1", "not a whole number"),
        (f"kubernetes://training?image={IMAGE}&workers=0", "workers: 0 is not between 1"),
        (f"kubernetes://training?image={IMAGE}&user=0", "user: 0"),
        (f"kubernetes://training?image={IMAGE}&ttl_s=60", "ttl_s: 60"),
        (f"kubernetes://training?image={IMAGE}&toleration=x", "not key=value:effect"),
        (f"kubernetes://training?image={IMAGE}&toleration=x:Sometimes", "not key=value:effect"),
        (f"kubernetes://training?image={IMAGE}&node_selector=a b=c", "node_selector"),
        (f"kubernetes://training?image={IMAGE}&memory=lots", "memory"),
        (f"kubernetes://training?image={IMAGE}&allow_tag=maybe", "allow_tag"),
        (f"kubernetes://training?image={IMAGE}&queue=Acme", "queue"),
    ],
)
def test_a_mistake_is_refused_by_its_name(url, said):
    with pytest.raises(ValueError, match=said):
        parse_jobs_url(url)


def test_a_tag_is_taken_where_that_was_asked_for():
    settings = parse_jobs_url("kubernetes://training?image=localhost/trainer:test&allow_tag=true")

    assert settings is not None
    assert settings.image == "localhost/trainer:test"
