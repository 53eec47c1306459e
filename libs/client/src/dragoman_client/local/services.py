# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which services make the platform on a laptop, in the order of their start, and what each is told.

The one place that knows the services' setting names. Everything is on loopback; only the gateway's ports are fixed.
"""

import sys
from collections.abc import Callable, Mapping

from dragoman_client.local import keys, user_tokens
from dragoman_client.local.home import Home, data_cache
from dragoman_client.local.parts import parts_of_environ
from dragoman_client.local.ports import FixedPorts
from dragoman_client.local.service_spec import ServiceSpec

SERVICES = ("registry", "tokenizer", "launcher", "worker", "monitor", "gateway")

_Environment = Callable[[Mapping[str, int]], Mapping[str, str]]


def platform_services(home: Home, fixed: FixedPorts, environ: Mapping[str, str]) -> tuple[ServiceSpec, ...]:
    """The table, for one home.

    Raises:
        InvalidArgumentError: the real parts that the environment asks for are not described.
    """
    parts = parts_of_environ(environ)

    def registry(_: Mapping[str, int]) -> Mapping[str, str]:
        return {
            # A bucket instead of the home's folder; its credentials are given as they are to a registry of its own.
            "STORE_URL": environ.get("DRAGOMAN_REGISTRY_STORE_URL") or home.store_url,
            "EVENTS_URL": home.events_url,
            "SIGNING_KEY_FILE": str(keys.signing_key_file(home)),
            # Outside of the store, so that whoever puts the store back is found out.
            "STATE_FOLDER": str(home.root / ("registry" if parts is None else f"registry-{parts.store_id}")),
        }

    def tokenizer(ports: Mapping[str, int]) -> Mapping[str, str]:
        return {
            "REGISTRY_TARGET": _target(ports, "registry"),
            "REGISTRY_KEYS_FILE": str(keys.signing_public_key_file(home)),
        }

    def launcher(ports: Mapping[str, int]) -> Mapping[str, str]:
        return {
            "REGISTRY_TARGET": _target(ports, "registry"),
            "EVENTS_URL": home.events_url,
            "JOBS_DIR": str(home.jobs),
            "DATA_DIR": str(data_cache(environ) / "data"),
        }

    def worker(ports: Mapping[str, int]) -> Mapping[str, str]:
        return {
            "REGISTRY_TARGET": _target(ports, "registry"),
            "REGISTRY_KEYS_FILE": str(keys.signing_public_key_file(home)),
            "CACHE_FOLDER": str(home.cache),
        }

    def monitor(_: Mapping[str, int]) -> Mapping[str, str]:
        return {"EVENTS_URL": home.events_url, "STATE_URL": home.monitor_url}

    def gateway(ports: Mapping[str, int]) -> Mapping[str, str]:
        return {
            "REGISTRY_TARGET": _target(ports, "registry"),
            "TOKENIZER_TARGET": _target(ports, "tokenizer"),
            "REGISTRY_KEYS_FILE": str(keys.signing_public_key_file(home)),
            "WORKER_TARGETS": _target(ports, "worker"),
            "EVENTS_URL": home.events_url,
            "SPOOL_FOLDER": str(home.spool),
            "HTTP_LISTEN": f"127.0.0.1:{fixed.http}",
            "USER_JWKS_FILE": str(keys.user_jwks_file(home)),
            "USER_ISSUER": user_tokens.ISSUER,
            "USER_AUDIENCE": user_tokens.AUDIENCE,
            "USER_MAX_LIFETIME_S": str(user_tokens.MAX_LIFETIME_S),
            "REFLECTION": "true",
        }

    def spec(name: str, settings: _Environment, *, needs: tuple[str, ...] = (), port: int = 0) -> ServiceSpec:
        told = {} if parts is None else parts.service(name)
        return _spec(home, name, lambda ports: {**settings(ports), **told}, needs=needs, port=port)

    return (
        spec("registry", registry),
        spec("tokenizer", tokenizer, needs=("registry",)),
        spec("launcher", launcher, needs=("registry",)),
        spec("worker", worker, needs=("registry",)),
        spec("monitor", monitor),
        spec("gateway", gateway, needs=("registry", "tokenizer", "worker"), port=fixed.grpc),
    )


def _spec(home: Home, name: str, settings: _Environment, *, needs: tuple[str, ...], port: int) -> ServiceSpec:
    prefix = f"DRAGOMAN_{name.upper()}_"

    def environment(ports: Mapping[str, int]) -> Mapping[str, str]:
        wiring = {
            **settings(ports),
            "KEY_FILE": str(keys.key_file(home, name)),
            "TRUST_FILE": str(keys.trust_file(home)),
        }
        return {prefix + key: value for key, value in wiring.items()}

    return ServiceSpec(
        name=name,
        command=(sys.executable, "-m", f"dragoman_{name}"),
        needs=needs,
        environment=environment,
        listen_variable=f"{prefix}LISTEN",
        ready_file_variable=f"{prefix}READY_FILE",
        port=port,
    )


def _target(ports: Mapping[str, int], name: str) -> str:
    return f"127.0.0.1:{ports[name]}"
