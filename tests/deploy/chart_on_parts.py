# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The containers that the chart describes, on real Kafka, MinIO and PostgreSQL, without a cluster.

    sudo .venv/bin/python -m tests.deploy.chart_on_parts      after `make images`

chart -> each container's environment and files, as rendered -> docker run -> a model trained, published, asked

Only addresses differ from what Kubernetes would run: loopback ports instead of Services' names. Not collected by
pytest: it needs a Docker engine with the images, and root.
"""

import asyncio
import importlib.util
import sys
import tempfile
from base64 import b64decode
from contextlib import ExitStack
from pathlib import Path
from subprocess import run
from types import ModuleType

import yaml

from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_client.local.ports import free_port
from dragoman_client.local.service_spec import ServiceSpec
from tests.deploy import helm
from tests.parts import together

ORDER = ("registry", "tokenizer", "launcher", "worker", "monitor", "gateway")


def load_smoke() -> ModuleType:
    """deploy/images/smoke.py, which is a script in no package."""
    spec = importlib.util.spec_from_file_location("smoke", helm.ROOT / "deploy/images/smoke.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["smoke"] = module
    spec.loader.exec_module(module)
    return module


def rendered(environ) -> list[dict]:
    """The chart for these parts, as an installation with laptop-made identities would set it."""
    values = {
        "events.url": environ["DRAGOMAN_UP_EVENTS_URL"],
        "store.url": environ["DRAGOMAN_UP_STORE_URL"],
        "state.url": environ["DRAGOMAN_UP_STATE_URL"],
        "identity.userIssuer": "dragoman-laptop",
    }
    return helm.objects(helm.VALUES / "minimal.yaml", values=tuple(f"{name}={value}" for name, value in values.items()))


def secrets(home: Home, environ) -> dict[str, dict[str, bytes]]:
    """What the Secrets and ConfigMaps hold that minimal.yaml names."""
    command = [str(helm.ROOT / "deploy/helm/credentials.sh"), str(home.root)]
    printed = run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    held = {
        one["metadata"]["name"]: {
            name: b64decode(text) for name, text in (one.get("data") or one["binaryData"]).items()
        }
        for one in yaml.safe_load_all(printed)
        if one
    }
    held["dragoman-store"] = {"credentials": Path(environ["DRAGOMAN_UP_S3_CREDENTIALS_FILE"]).read_bytes()}
    held["dragoman-state"] = {"password": Path(environ["DRAGOMAN_UP_STATE_PASSWORD_FILE"]).read_bytes()}
    return held


def mounts(pod: dict, held: dict[str, dict[str, bytes]], folder: Path) -> list[str]:
    """The pod's volumes as folders, and the options that mount them where the container expects them."""
    volumes = {one["name"]: one for one in pod.get("volumes", ())}
    options = []
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        source = volume.get("secret", {}).get("secretName") or volume.get("configMap", {}).get("name")
        if mount["mountPath"] == "/tmp":
            continue
        place = folder / mount["name"]
        place.mkdir(parents=True)
        for name, content in held[source].items() if source else ():
            (place / name).write_bytes(content)
        options.append(f"--volume={place}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}")
    return options


def main() -> None:
    """Run all of it, and stop it."""
    smoke = load_smoke()
    with tempfile.TemporaryDirectory(prefix="dragoman-chart-") as temporary, ExitStack() as stack:
        base = Path(temporary)
        base.chmod(0o711)
        parts = stack.enter_context(together.running(base / "parts"))
        root = base / "containers"
        root.mkdir()
        package = smoke.train("localhost/dragoman-trainer-lite:0.1.0", root)
        home = Home.at(str(root / "home"))
        home.create()
        keys.ensure(home)
        held = secrets(home, parts.environ)
        pods = {
            one["spec"]["template"]["spec"]["containers"][0]["name"]: one["spec"]["template"]["spec"]
            for one in rendered(parts.environ)
            if one["kind"] in ("Deployment", "StatefulSet")
        }
        places = {f"dragoman-{name}.{helm.NAMESPACE}.svc:9000": free_port() for name in (*ORDER, "pool-cpu")}
        places[f"dragoman-worker.{helm.NAMESPACE}.svc:9000"] = places[f"dragoman-pool-cpu.{helm.NAMESPACE}.svc:9000"]
        http, ports = free_port(), {}

        def environment(pod: dict) -> dict[str, str]:
            given = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
            for name, port in places.items():
                given = {key: value.replace(name, f"127.0.0.1:{port}") for key, value in given.items()}
            return {key: value.replace("0.0.0.0:8080", f"127.0.0.1:{http}") for key, value in given.items()}

        options = {name: mounts(pods[name], held, root / "volumes" / name) for name in ORDER}
        smoke.own(root)
        for name in ORDER:
            spec = ServiceSpec(
                name=name,
                command=(),
                environment=lambda _, name=name: environment(pods[name]),
                listen_variable=f"DRAGOMAN_{name.upper()}_LISTEN",
                ready_file_variable=f"DRAGOMAN_{name.upper()}_READY_FILE",
                port=places[f"dragoman-{name}.{helm.NAMESPACE}.svc:9000"],
            )
            stack.enter_context(smoke.running(pods[name]["containers"][0]["image"], spec, home, ports, *options[name]))
        asyncio.run(smoke.publish(home, ports, package))
        smoke.ask(home, f"127.0.0.1:{ports['gateway']}")
        smoke.say("monitor", f"counted {asyncio.run(counted(smoke, home, ports))} predictions, from Kafka")


async def counted(smoke: ModuleType, home: Home, ports: dict[str, int]) -> int:
    """Wait until the monitor has counted the four rows.

    Raises:
        SystemExit: it has not within 30 s.
    """
    async with smoke.operator(home, ports) as operator:
        for _ in range(60):
            report = await operator.report("topics")
            if sum(one.total.num_predictions for one in report.versions) == 4:
                return 4
            await asyncio.sleep(0.5)
    raise SystemExit(f"the monitor counted {report}")


if __name__ == "__main__":
    main()
