# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""cluster init: the secrets of an installation in Kubernetes, for the chart's hook, or with a kubeconfig."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli.output import print_json, say
from dragoman_client.cli.session import JsonOption
from dragoman_client.cluster.certificates import ensure_certificates, tell_authority
from dragoman_client.cluster.identities import ensure_identities, ensure_password, ensure_store_credentials
from dragoman_client.local.home import Home
from dragoman_common.clock import SystemClock
from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError

_NEEDS = "this needs the Kubernetes client: install dragoman-client[cluster]"

app = typer.Typer(help="An installation in Kubernetes.", no_args_is_help=True)


@app.callback()
def cluster() -> None:
    """An installation in Kubernetes."""


@app.command()
def init(
    namespace: Annotated[str, typer.Option(help="Where the Secrets are made.")],
    *,
    prefix: Annotated[str, typer.Option(help="What the objects' names begin with.")] = "dragoman",
    identities: Annotated[
        bool, typer.Option("--identities", help="PREFIX-key-SERVICE, -operator, -users, -signing, and -trust.")
    ] = False,
    store: Annotated[str, typer.Option(help="A Secret for a name and a password of the object store.")] = "",
    state: Annotated[str, typer.Option(help="A Secret for a password of the monitor's database.")] = "",
    certificates: Annotated[
        list[str] | None,
        typer.Option("--certificate", help="SERVICE=NAME,NAME: PREFIX-tls-SERVICE for these DNS names, by PREFIX-ca."),
    ] = None,
    authority_in: Annotated[
        str, typer.Option("--authority-in", help="A namespace that gets the ConfigMap PREFIX-ca, for those who call.")
    ] = "",
    labels: Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE, of every object.")] = None,
    kubeconfig: Annotated[str, typer.Option(help="A file; as the pod's own account otherwise.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make the Secrets that are missing. Keys that are there are never changed: run it as often as you like."""
    try:
        from dragoman_client.cluster.kubernetes_objects import KubernetesObjects
    except ImportError:
        raise FailedPreconditionError(_NEEDS) from None
    owned = dict(_pairs("--label", labels or ()))
    objects = KubernetesObjects.connect(namespace, owned, kubeconfig=kubeconfig)
    made = []
    if identities:
        with tempfile.TemporaryDirectory(prefix="dragoman-init-") as folder:
            made += ensure_identities(objects, prefix, Home(Path(folder)))
    if certificates:
        wanted = {
            service: names.split(",") if names else [] for service, names in _pairs("--certificate", certificates)
        }
        made += ensure_certificates(objects, prefix, wanted, SystemClock())
        if authority_in:
            there = KubernetesObjects.connect(authority_in, owned, kubeconfig=kubeconfig)
            made += tell_authority(objects, there, prefix)
    if store:
        made += ensure_store_credentials(objects, store)
    if state:
        made += ensure_password(objects, state)
    if as_json:
        print_json({"namespace": namespace, "made": made})
    else:
        say(f"made {', '.join(made)}" if made else "nothing was missing")


@app.command()
def rescale(
    namespace: Annotated[str, typer.Option(help="Where the ScaledObjects are.")],
    names: Annotated[list[str], typer.Argument(help="ScaledObjects.")],
    *,
    autoscaler: Annotated[str, typer.Option(help="host:port of the autoscaler's health.")],
    timeout_s: Annotated[float, typer.Option(help="How long to wait for it.")] = 600.0,
    kubeconfig: Annotated[str, typer.Option(help="A file; as the pod's own account otherwise.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Wait for the autoscaler, and have KEDA ask it for the metrics of these ScaledObjects."""
    try:
        from kubernetes.client import CustomObjectsApi

        from dragoman_client.cluster.kubernetes_objects import api_client
        from dragoman_client.cluster.settling import ask_again, wait_until_serving
    except ImportError:
        raise FailedPreconditionError(_NEEDS) from None
    api = CustomObjectsApi(api_client(kubeconfig))
    wait_until_serving(autoscaler, timeout_s=timeout_s)
    ask_again(api, namespace, names, SystemClock().now().isoformat(timespec="seconds"))
    if as_json:
        print_json({"namespace": namespace, "asked_for": names})
    else:
        say(f"KEDA asks for {', '.join(names)}")


def _pairs(option: str, given: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in given:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidArgumentError(f"{option} {pair!r} is not KEY=VALUE")
        yield key, value
