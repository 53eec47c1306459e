# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Checks Kubernetes objects against the published schemas, strictly: an unknown or misplaced key fails."""

import json
from functools import cache
from importlib.resources import files

import jsonschema
from referencing import Registry, Resource

VERSIONS = ("v1.31.0", "v1.34.0", "v1.37.0")


@cache
def _definitions(version):
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"{version}-local-strict"
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text())) @ Registry()


@cache
def _validator(kind, version):
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"{version}-local-strict"
    schema = json.loads((folder / f"{kind}.json").read_text())
    registry = Resource.from_contents(schema) @ _definitions(version)
    return jsonschema.validators.Draft202012Validator(schema, registry=registry)


def check(manifest, version=VERSIONS[-1]):
    """Raise a ValidationError when the object does not have its kind's form."""
    group = manifest["apiVersion"].replace(".k8s.io", "").replace("/", "-")
    _validator(f"{manifest['kind'].lower()}-{group}", version).validate(manifest)
