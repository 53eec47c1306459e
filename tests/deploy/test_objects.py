# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever values the schema takes, what Helm makes of them are objects of Kubernetes' own types."""

import json
import re
import subprocess

import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.deploy import helm, kubernetes_types
from tests.deploy.test_chart import MINIMAL, SETS
from tests.parts.missing import required

# Text that YAML takes for something else, unless a template quotes it.
NAMES = st.sampled_from(["a", "123", "1e3", "null", "true", "on", "0x1f", "no", "x.y-z"])
QUANTITIES = st.sampled_from(["1", 2, "100m", "1.5", "64Mi", "2Gi"])
RESOURCES = st.fixed_dictionaries(
    {}, optional={kind: st.fixed_dictionaries({"cpu": QUANTITIES}) for kind in ("requests", "limits")}
)
POOLS = st.lists(
    st.builds(
        lambda pool, least, more: pool | {"min": least, "max": least + more},
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["a", "123", "1e3", "null", "true"]),
                "models": st.just(["*"]),
                "device": st.sampled_from(["cpu", "cuda"]),
                "gpu": st.integers(0, 8),
                "target": st.integers(1, 100),
                "resources": RESOURCES,
            },
            optional={
                "nodeSelector": st.dictionaries(NAMES, NAMES, max_size=2),
                "tolerations": st.lists(st.fixed_dictionaries({"key": NAMES, "value": NAMES}), max_size=1),
            },
        ),
        st.integers(1, 3),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda pool: pool["name"],
)
VALUES = st.fixed_dictionaries(
    {
        "pools": POOLS,
        "image": st.fixed_dictionaries({"tag": NAMES, "pullSecrets": st.lists(NAMES.map(lambda name: {"name": name}))}),
        "store": st.fixed_dictionaries({"credentialsSecret": NAMES, "caConfigMap": NAMES | st.just("")}),
        "events": st.fixed_dictionaries(
            {
                "tls": st.just(True),
                "saslMechanism": st.sampled_from(["", "PLAIN"]),
                "credentialsSecret": NAMES,
                "caConfigMap": NAMES | st.just(""),
                "prefix": NAMES,
            }
        ),
        "state": st.fixed_dictionaries({"passwordSecret": NAMES, "caConfigMap": NAMES | st.just("")}),
        "identity": st.fixed_dictionaries(
            {
                "trustConfigMap": NAMES,
                "signingKeySecret": NAMES,
                "userIssuer": NAMES,
                "keySecrets": st.fixed_dictionaries({"autoscaler": NAMES}),
            }
        ),
        "gateway": st.fixed_dictionaries(
            {
                "replicas": st.integers(1, 5),
                "storageClass": NAMES | st.just(""),
                "spoolSize": QUANTITIES,
                "resources": RESOURCES,
                "settings": st.dictionaries(st.sampled_from(["MAX_ROWS", "X", "NULL"]), NAMES, max_size=2),
            }
        ),
        "autoscaling": st.sampled_from(["none", "hpa", "keda"]),
        "tls": st.fixed_dictionaries(
            {"mode": st.sampled_from(["generated", "certManager"]), "issuer": st.fixed_dictionaries({"name": NAMES})},
            optional={"gatewayNames": st.lists(st.sampled_from(["123", "null", "a.example.com"]), max_size=2)},
        ),
        "metrics": st.fixed_dictionaries({"enabled": st.booleans()}),
        "storageClass": NAMES | st.sampled_from(["", "-"]),
        "launcher": st.fixed_dictionaries(
            {
                "trainingNamespace": st.sampled_from(["", "training", "123", "null"]),
                "trainer": st.fixed_dictionaries(
                    {"caConfigMap": NAMES, "cpuRequest": st.sampled_from(["", "0", "100m"])}
                ),
            }
        ),
        "networkPolicy": st.fixed_dictionaries(
            {
                "enabled": st.booleans(),
                "gatewayFrom": st.lists(
                    st.fixed_dictionaries({"namespaceSelector": st.just({"matchLabels": {"a": "true"}})}), max_size=2
                ),
            }
        ),
    }
)


# Kinds of KEDA, cert-manager and the Prometheus operator: only a cluster that has these knows them.
FOREIGN = ("keda.sh/", "cert-manager.io/", "monitoring.coreos.com/")


def own(rendered):
    """The documents of Kubernetes' own kinds."""
    documents = re.split(r"^---$", rendered, flags=re.MULTILINE)
    return "---".join(
        one for one in documents if not re.search(rf"^apiVersion: ({'|'.join(FOREIGN)})", one, re.MULTILINE)
    )


# Not Always: images are named by digest, or are on the node. No CPU limits: a throttled batch is a late answer.
ACCEPTED = ("--ignore-test=container-image-pull-policy", "--ignore-container-cpu-limit")


@pytest.fixture(scope="module", autouse=True)
def _programs():
    required("helm", helm.binary)
    required("kubernetes-types", kubernetes_types.binary)


@pytest.mark.parametrize("name", SETS)
def test_the_given_values_render_objects_that_hold(name):
    rendered = helm.template(*SETS[name])
    assert rendered.returncode == 0, rendered.stderr
    assert kubernetes_types.problems(own(rendered.stdout)) == []


@pytest.mark.parametrize("version", ["1.31.0", "1.34.0", "1.37.0"])
@pytest.mark.parametrize("name", SETS)
def test_the_given_values_render_objects_of_three_versions_of_the_api(name, version):
    rendered = helm.objects(*SETS[name])
    for one in rendered:
        if one["apiVersion"].startswith(FOREIGN):
            continue
        kubernetes_validate.validate(one, version, strict=True)
    assert len(rendered) > 20


@pytest.mark.parametrize("name", SETS)
def test_kube_score_finds_nothing_critical(name):
    program = required(
        "kube-score", lambda: helm.installed("kube-score", "github.com/zegl/kube-score/cmd/kube-score", "v1.20.0")
    )
    rendered = own(helm.template(*SETS[name]).stdout)
    # The images of `make test-images` have no other tag.
    accepted = (*ACCEPTED, "--ignore-test=container-image-tag") if name in ("evaluation", "scaled") else ACCEPTED
    command = [str(program), "score", "--kubernetes-version=v1.33", "--output-format=ci", *accepted, "-"]
    scored = subprocess.run(command, input=rendered, capture_output=True, text=True, timeout=60, check=False).stdout
    assert "[OK]" in scored
    assert [line for line in scored.splitlines() if line.startswith("[CRITICAL]")] == []


def test_a_field_that_the_api_does_not_have_is_refused():
    (one, *_) = [one for one in helm.objects(*MINIMAL) if one["kind"] == "Deployment"]
    one["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, "1.34.0", strict=True)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("preStop:", "prestop_:"), ("runAsUser: 65532", 'runAsUser: "me"'), ("kind: StatefulSet", "kind: StatefulSets")],
)
def test_an_object_that_does_not_hold_is_found(right, wrong):
    rendered = helm.template(*MINIMAL).stdout
    assert right in rendered
    assert kubernetes_types.problems(rendered.replace(right, wrong))


@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=VALUES)
def test_no_values_render_an_object_that_does_not_hold(tmp_path_factory, values):
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    # JSON is YAML, and leaves no text to be taken for a number here.
    file.write_text(json.dumps(values))
    rendered = helm.template(*MINIMAL, file)
    assert rendered.returncode == 0, rendered.stderr
    assert kubernetes_types.problems(own(rendered.stdout)) == []
    names = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(rendered.stdout) if one]
    assert len(names) == len(set(names))
