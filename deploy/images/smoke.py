# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001, S603, S607 - a script, in no package; it runs the docker that the user has
"""The lite images answer: one linear model, trained by the trainer's container, asked for through the gateway's.

made-up texts -> trainer-lite -> package -> registry <- worker-lite, tokenizer <- gateway <- 4 known texts

Every container has a read-only root, the user 65532, no capability, and a folder of its own for what it writes; they
meet on loopback (--network host), with a folder for the store and SQLite for events and state. Needs root, because
that folder is given to 65532. Proves the images; a cluster and its parts are other tests' business.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dragoman_client.client import Client
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_client.local.ports import FixedPorts, free_port
from dragoman_client.local.service_spec import ServiceSpec
from dragoman_client.local.services import platform_services
from dragoman_client.local.user_tokens import LOCAL_TENANT, UserTokenIssuer
from dragoman_client.operator_client import OperatorClient, OperatorTargets
from dragoman_common.clock import SystemClock
from dragoman_common.errors import DragomanError
from dragoman_common.service_keys import ServiceKey

USER = 65532
READY_S = 120.0
WORDS = {
    "grain": ("wheat", "maize", "harvest", "barley", "silo", "bushel"),
    "money": ("bank", "rate", "currency", "deposit", "central", "liquidity"),
    "ship": ("vessel", "port", "cargo", "tanker", "harbour", "crew"),
    "trade": ("tariff", "export", "deficit", "import", "quota", "surplus"),
}
RECIPE = """format: dragoman.recipe/1
name: smoke
seed: 13
data: {name: topics, dev_fraction: 0.1, dev_seed: 0}
tokenizer: {backend: basic_english, max_vocabulary: 0, min_frequency: 1, max_tokens: 256}
linear: {ngram_max: 1, min_document_frequency: 1, sublinear_tf: true, solver: linear_svc, c: 1.0, refit_with_dev: true}
"""


def texts(step: int) -> list[dict[str, str]]:
    """Labelled rows: three of a topic's words each, in another order for another step."""
    return [
        {"label": label, "text": " ".join(words[(start + step * place) % len(words)] for place in range(3))}
        for label, words in WORDS.items()
        for start in range(len(words))
    ]


def container(image: str, folder: Path, environment: dict[str, str], *options: str) -> list[str]:
    """The command that runs an image as a cluster would."""
    limits = ("--read-only", f"--user={USER}:{USER}", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    variables = [f"--env={name}={value}" for name, value in environment.items()]
    return [
        "docker",
        "run",
        "--rm",
        *limits,
        "--tmpfs=/tmp",
        f"--volume={folder}:{folder}",
        *variables,
        *options,
        image,
    ]


def train(image: str, root: Path) -> Path:
    """Train the linear model; returns the package."""
    data, output = root / "data/topics", root / "trained"
    data.mkdir(parents=True)
    for name, rows in (("train", texts(1) + texts(2) + texts(4)), ("test", texts(5))):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "recipe.yaml").write_text(RECIPE)
    own(root)
    settings = {"RECIPE_FILE": root / "recipe.yaml", "DATA_DIR": root / "data", "OUTPUT_DIR": output}
    environment = {f"DRAGOMAN_TRAINER_{name}": str(value) for name, value in settings.items()}
    done = _run(container(image, root, environment, "--network=none"))
    say("trainer-lite", f"trained {done.splitlines()[-1][:90]}")
    return output / "package"


@contextmanager
def running(image: str, spec: ServiceSpec, home: Home, ports: dict[str, int], *options: str) -> Iterator[None]:
    """One service as a container, from its ready file to its end by SIGTERM; options are `docker run`'s."""
    started_s = time.monotonic()
    ready = home.ready_file(spec.name)
    environment = dict(spec.environment(ports)) | {
        spec.listen_variable: f"127.0.0.1:{spec.port}",
        spec.ready_file_variable: str(ready),
    }
    name = f"dragoman-smoke-{os.getpid()}-{spec.name}"
    _run(container(image, home.root.parent, environment, "--network=host", "--detach", f"--name={name}", *options))
    try:
        while not ready.exists():
            is_up = _run(["docker", "ps", "--quiet", f"--filter=name={name}"])
            if not is_up or time.monotonic() > started_s + READY_S:
                raise SystemExit(f"{spec.name}: not ready\n{_logs(name)}")
            time.sleep(0.2)
        ports[spec.name] = json.loads(ready.read_text())["port"]
        say(spec.name, f"ready after {time.monotonic() - started_s:.1f} s")
        yield
    finally:
        stopped_s = time.monotonic()
        logs = _logs(name)
        subprocess.run(["docker", "stop", "--time=40", name], check=False, capture_output=True, timeout=60)
        say(spec.name, f"stopped after {time.monotonic() - stopped_s:.1f} s")
        (home.logs / f"{spec.name}.log").write_text(logs)


def operator(home: Home, ports: dict[str, int]) -> OperatorClient:
    """The laptop's own operator, connected to the containers."""
    at = {name: f"127.0.0.1:{ports[name]}" for name in ("registry", "launcher", "monitor", "worker")}
    targets = OperatorTargets(
        registry=at["registry"], launcher=at["launcher"], monitor=at["monitor"], workers=(at["worker"],)
    )
    return OperatorClient(targets, ServiceKey.load(keys.operator_key_file(home, "")), tenant=LOCAL_TENANT)


async def publish(home: Home, ports: dict[str, int], package: Path) -> None:
    """Make the package version 1 of the model `topics`, and point prod to it."""
    async with operator(home, ports) as publisher:
        published = await publisher.publish("topics", package)
        await publisher.set_alias("topics", "prod", published.version.number, reason="smoke")


def ask(home: Home, target: str) -> None:
    """Ask for four texts until the worker holds the model.

    Raises:
        SystemExit: no answer in time, or a wrong one.
    """
    rows = texts(5)[::6]
    token = UserTokenIssuer.load(keys.user_key_file(home)).token(clock=SystemClock(), subject="smoke")
    with Client(target, token) as client:
        for attempt in range(30):
            try:
                answer = client.classify("topics", [row["text"] for row in rows])
                break
            except DragomanError as error:
                if attempt == 29:
                    raise SystemExit(f"no answer: {error}") from None
                time.sleep(1)
    given = [row.label for row in answer.rows]
    if given != [row["label"] for row in rows]:
        raise SystemExit(f"answered {given}")
    say("gateway", f"4 of 4 right, by topics version {answer.version} ({answer.root_sha256[:12]})")


def own(root: Path) -> None:
    """Give the folder to the containers' user."""
    for path in (root, *root.rglob("*")):
        os.chown(path, USER, USER)


def main() -> None:
    """Train, start, publish, ask, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", default="localhost/dragoman")
    parser.add_argument("--tag", default="0.1.0")
    options = parser.parse_args()

    def image(name: str) -> str:
        return f"{options.repository}-{name}:{options.tag}"

    with tempfile.TemporaryDirectory(prefix="dragoman-smoke-") as temporary, ExitStack() as stack:
        root = Path(temporary)
        package = train(image("trainer-lite"), root)
        home = Home.at(str(root / "home"))
        home.create()
        keys.ensure(home)
        for folder in (home.spool, root / "home/registry"):
            folder.mkdir()
        own(root)
        ports: dict[str, int] = {}
        fixed = FixedPorts(grpc=free_port(), http=free_port())
        for spec in platform_services(home, fixed, {"DRAGOMAN_CACHE": str(root)}):
            built = "worker-lite" if spec.name == "worker" else spec.name
            stack.enter_context(running(image(built), spec, home, ports))
        asyncio.run(publish(home, ports, package))
        ask(home, f"127.0.0.1:{fixed.grpc}")


def say(who: str, what: str) -> None:
    sys.stdout.write(f"{who:14} {what}\n")
    sys.stdout.flush()


def _run(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])}: {done.stderr}{done.stdout}")
    return done.stdout.strip()


def _logs(name: str) -> str:
    done = subprocess.run(["docker", "logs", name], check=False, capture_output=True, text=True, timeout=60)
    return done.stderr + done.stdout


if __name__ == "__main__":
    main()
