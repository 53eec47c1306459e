# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""MinIO, Kafka and PostgreSQL that no chart of ours has made: in a namespace of their own, over TLS, with credentials.

What a company has beside the platform, and the Secrets and ConfigMaps that its operator makes from it (external.yaml).
"""

import secrets
from dataclasses import dataclass, field

from dragoman_common.testing_certificates import TestAuthority
from tests.cluster.kubectl import Object
from tests.cluster.outside_parts import kafka, minio, postgres, secret

AUTHORITY = "external-authority"
SERVICES = ("gateway", "tokenizer", "registry", "worker-cpu", "launcher", "monitor", "autoscaler")
KEDA = "keda.example.com"
RELEASE = "dragoman"


def _password() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, kw_only=True)
class Outside:
    """One authority for everything, and a user of each part.

    Args:
        namespace: Of the parts.
    """

    namespace: str
    authority: TestAuthority = field(default_factory=lambda: TestAuthority("The company's authority"))
    user: str = "dragoman"
    store_password: str = field(default_factory=_password, repr=False)
    events_password: str = field(default_factory=_password, repr=False)
    state_password: str = field(default_factory=_password, repr=False)

    def parts(self) -> list[Object]:
        """Everything that runs in the parts' namespace."""
        made: list[Object] = []
        for part, name, password in (
            (minio, "minio", self.store_password),
            (kafka, "kafka", self.events_password),
            (postgres, "postgres", self.state_password),
        ):
            host = f"{name}.{self.namespace}.svc"
            made += part(host, self.user, password, self.authority.issue(host))
        return made

    def credentials(self) -> list[Object]:
        """What external.yaml names beside certificates, for the release's namespace."""
        profile = f"[default]\naws_access_key_id = {self.user}\naws_secret_access_key = {self.store_password}\n"
        return [
            secret("external-store", {"credentials": profile.encode()}),
            secret(
                "external-events", {"credentials": f"username={self.user}\npassword={self.events_password}\n".encode()}
            ),
            secret("external-state", {"password": self.state_password.encode()}),
            self.trust(),
        ]

    def certificates(self, namespace: str) -> list[Object]:
        """A Secret for each service of a release in a namespace: its Service's name, and localhost for kubectl."""
        names = {service: [f"{RELEASE}-{service}.{namespace}.svc", "localhost"] for service in SERVICES}
        names["gateway"].append(f"{RELEASE}.{namespace}.svc")
        # By which gateways find a pool's workers before they are ready.
        names["worker-cpu"].append(f"{RELEASE}-pool-cpu.{namespace}.svc")
        names["keda"] = [KEDA]
        made = []
        for service, held in names.items():
            issued = self.authority.issue(*held)
            files = {"tls.crt": issued.chain, "tls.key": issued.key, "ca.crt": self.authority.pem}
            made.append(secret(f"tls-{service.partition('-')[0]}", files))
        return made

    def trust(self) -> Object:
        """The authority, for those who call."""
        pem = self.authority.pem.decode()
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": AUTHORITY},
            "data": {"ca.pem": pem, "ca.crt": pem},
        }
