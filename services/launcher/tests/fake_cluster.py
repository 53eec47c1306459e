# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A small Kubernetes for tests: the API server's HTTP face, and a Job controller and kubelet of a few lines.

What is posted must have its kind's published form (kubernetes_schemas.py), or it is refused with 422; what is served
has it, too, which a test checks. It does what the documentation says of Jobs, no more: it stands for no real cluster.
"""

import asyncio
import copy
import json
import time
from contextlib import asynccontextmanager

import jsonschema
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from services.launcher.tests import kubernetes_schemas

KINDS = {"jobs": "Job", "pods": "Pod", "services": "Service", "configmaps": "ConfigMap", "leases": "Lease"}
GROUPS = {"jobs": "/apis/batch/v1", "leases": "/apis/coordination.k8s.io/v1"}
ISSUER = "https://cluster.example"
KIND = web.RequestKey("kind", str)
NOW = "2026-01-01T00:00:00Z"


def status(code, reason, message=""):
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message or reason,
    }


def labels_of(selector):
    return dict(part.split("=") for part in selector.split(",") if part)


class FakeCluster:
    def __init__(self, always=None):
        self.always = always
        self.objects = {}
        self.version = 100
        self.oldest = 0
        self.history = []
        self.woken = asyncio.Event()
        self.logs = {}
        self.calls = []
        self.num_unavailable = 0
        self.unavailable = 503
        self.num_started = 0
        self.refuse = None
        self.tasks = set()
        self.streams = set()
        self.uids = 0
        self.token_keys = {}
        self.rotate()

    # The controllers' side.

    def put(self, manifest, event="MODIFIED"):
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        key = (manifest["kind"], manifest["metadata"]["name"])
        if event == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = manifest
        self.history.append((self.version, event, copy.deepcopy(manifest)))
        self.wake()

    def wake(self):
        self.woken.set()
        self.woken = asyncio.Event()

    def named(self, kind, name):
        return self.objects.get((kind, name))

    def pods_of(self, job):
        return [
            o
            for (kind, _), o in self.objects.items()
            if kind == "Pod" and o["metadata"]["labels"] and self.owns(job, o)
        ]

    def owns(self, job, pod):
        return pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def new_uid(self):
        self.uids += 1
        return f"uid-{self.uids:08d}"

    async def control(self, job):
        """Run an Indexed Job with one worker, as its controller would."""
        spec, name = job["spec"], job["metadata"]["name"]
        if spec["completions"] == 0:
            return self.conclude(job, "Complete", "CompletionsReached")
        if spec["suspend"]:
            return None
        for attempt in range(spec["backoffLimit"] + 1):
            code = await self.run_pod(job, attempt)
            if self.named("Job", name) is not job or "deletionTimestamp" in job["metadata"] or spec["suspend"]:
                return None
            if code == 0:
                return self.conclude(job, "Complete", "CompletionsReached")
            final = spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"]
            if code in final:
                return self.conclude(job, "Failed", "PodFailurePolicy", f"exit code {code} matches FailJob")
        return self.conclude(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")

    def let_go(self, job):
        """Kueue admits it."""
        job["spec"]["suspend"] = False
        self.put(job)
        self.spawn(self.control(job))

    async def hold_again(self, job):
        """Kueue evicts it: its pods are killed and go."""
        job["spec"]["suspend"] = True
        self.put(job)
        await self.take_away_pods(job)

    def conclude(self, job, kind, reason, message=""):
        for kept in ("SuccessCriteriaMet" if kind == "Complete" else "FailureTarget", kind):
            condition = {"type": kept, "status": "True", "reason": reason, "message": message}
            condition |= {"lastProbeTime": NOW, "lastTransitionTime": NOW}
            job.setdefault("status", {}).setdefault("conditions", []).append(condition)
            self.put(job)

    async def run_pod(self, job, attempt):
        """One pod of the job; it does what the recipe says that the kubelet gives it."""
        template = copy.deepcopy(job["spec"]["template"])
        name = f"{job['metadata']['name']}-0-x{attempt}"
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": job["metadata"]["namespace"],
                "uid": self.new_uid(),
                "creationTimestamp": NOW,
                "labels": template["metadata"]["labels"] | {"batch.kubernetes.io/job-completion-index": "0"},
                "annotations": template["metadata"]["annotations"],
                "ownerReferences": [owner | {"uid": job["metadata"]["uid"], "controller": True}],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self.put(pod, "ADDED")
        recipe = self.always or self.given(pod)["recipe.yaml"]
        if "stuck" in recipe:
            waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
            self.container(pod, {"waiting": waiting}, "Pending")
            pod["killed"] = asyncio.get_running_loop().create_future()
            await pod["killed"]
            del pod["killed"]
            return self.container(pod, {"waiting": waiting}, "Failed")
        self.container(pod, {"running": {"startedAt": NOW}}, "Running")
        self.num_started += 1
        code = None
        if "run on" not in recipe:
            self.write_log(name, b"hello\n")
            code = 0 if "succeed" in recipe else 1
        killed = pod["killed"] = asyncio.get_running_loop().create_future()
        if code is None:
            code = await killed
        del pod["killed"]
        self.container(pod, self.terminated(code), "Succeeded" if code == 0 else "Failed")
        return code

    def terminated(self, code):
        reason = "Completed" if code == 0 else "Error"
        return {"terminated": {"exitCode": code, "reason": reason, "startedAt": NOW, "finishedAt": NOW}}

    def container(self, pod, state, phase):
        pod["status"] = {
            "phase": phase,
            "containerStatuses": [
                {
                    "name": "trainer",
                    "state": state,
                    "ready": False,
                    "restartCount": 0,
                    "image": pod["spec"]["containers"][0]["image"],
                    "imageID": "",
                }
            ],
        }
        self.put(pod)

    def write_log(self, pod_name, data):
        self.logs[pod_name] = self.logs.get(pod_name, b"") + data
        self.wake()

    def kill(self, pod, code):
        """End a running container from outside."""
        if (killed := pod.get("killed")) is not None and not killed.done():
            killed.set_result(code)

    async def delete_job(self, job):
        job["metadata"] |= {"deletionTimestamp": NOW, "finalizers": ["foregroundDeletion"]}
        self.put(job)
        await self.take_away_pods(job)
        self.put(job, "DELETED")

    async def take_away_pods(self, job):
        for pod in self.pods_of(job):
            self.kill(pod, 143)
            while pod["status"]["phase"] in {"Pending", "Running"}:
                await self.woken.wait()
            self.put(pod, "DELETED")

    # The kubelet's side.

    def given(self, pod):
        """The files of the pod's projected volume, as the kubelet would write them."""
        files = {}
        for source in pod["spec"]["volumes"][0]["projected"]["sources"]:
            for item in source.get("downwardAPI", {}).get("items", []):
                path = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
                files[item["path"]] = pod["metadata"]["annotations"][path]
            if token := source.get("serviceAccountToken"):
                files[token["path"]] = self.token_of(pod, token["audience"], token["expirationSeconds"])
        return files

    def rotate(self):
        """Sign tokens with a new key from now on; the old ones still count."""
        self.key_id = f"key-{len(self.token_keys)}"
        self.token_keys[self.key_id] = ec.generate_private_key(ec.SECP256R1())

    def token_of(self, pod, audience, lifetime_s, **changes):
        """What the cluster says of a pod; `changes` replace claims."""
        metadata = pod["metadata"]
        claims = {
            "iss": ISSUER,
            "aud": [audience],
            "iat": int(time.time()),
            "exp": int(time.time()) + lifetime_s,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{pod['spec']['serviceAccountName']}",
            "kubernetes.io": {
                "namespace": metadata["namespace"],
                "node": {"name": "node", "uid": "uid-node"},
                "pod": {"name": metadata["name"], "uid": metadata["uid"]},
                "serviceaccount": {"name": pod["spec"]["serviceAccountName"], "uid": "uid-account"},
            },
        } | changes
        return jwt.encode(claims, self.token_keys[self.key_id], algorithm="ES256", headers={"kid": self.key_id})

    # The API server's side.

    def application(self):
        app = web.Application(middlewares=[self.faults])
        for plural in KINDS:
            path = f"{GROUPS.get(plural, '/api/v1')}/namespaces/{{namespace}}/{plural}"
            app.router.add_get(path, self.list)
            app.router.add_post(path, self.create)
            app.router.add_get(path + "/{name}", self.get)
            app.router.add_delete(path + "/{name}", self.delete)
            app.router.add_put(path + "/{name}", self.replace)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/log", self.log)
        app.router.add_get("/.well-known/openid-configuration", self.configuration)
        app.router.add_get("/openid/v1/jwks", self.jwks)
        return app

    async def configuration(self, request):
        return web.json_response({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/openid/v1/jwks"})

    async def jwks(self, request):
        # As the real one: the keys have a media type of their own, and there is no other.
        if "application/jwk-set+json" not in request.headers["Accept"]:
            return web.Response(status=406, text="406: Not Acceptable")
        keys = [
            jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"}
            for kid, key in self.token_keys.items()
        ]
        return web.json_response({"keys": keys}, content_type="application/jwk-set+json")

    @web.middleware
    async def faults(self, request, handler):
        plural = request.path.removesuffix("/log").partition("/namespaces/")[2].split("/")[1:2]
        kind = KINDS[plural[0]] if plural else "key"
        self.calls.append((request.method, kind, request.query.get("watch", "") == "true"))
        request[KIND] = kind
        if request.headers.get("Authorization") != "Bearer sesame":
            return web.json_response(status(401, "Unauthorized"), status=401)
        if self.num_unavailable:
            self.num_unavailable -= 1
            return web.json_response(status(self.unavailable, "Planted"), status=self.unavailable)
        return await handler(request)

    async def create(self, request):
        manifest = await request.json()
        if self.refuse and manifest["kind"] == self.refuse[0]:
            return web.json_response(status(403, "Forbidden", self.refuse[1]), status=403)
        try:
            kubernetes_schemas.check(manifest)
        except jsonschema.ValidationError as error:
            return web.json_response(status(422, "Invalid", error.message), status=422)
        if self.named(manifest["kind"], manifest["metadata"]["name"]) is not None:
            return web.json_response(status(409, "AlreadyExists"), status=409)
        manifest["metadata"] |= {
            "uid": self.new_uid(),
            "creationTimestamp": NOW,
            "namespace": request.match_info["namespace"],
        }
        self.put(manifest, "ADDED")
        if manifest["kind"] == "Job":
            self.spawn(self.control(manifest))
        return web.json_response(self.shown(manifest), status=201)

    async def replace(self, request):
        manifest, found = await request.json(), self.named(request[KIND], request.match_info["name"])
        if found is None:
            return web.json_response(status(404, "NotFound"), status=404)
        if manifest["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
            return web.json_response(status(409, "Conflict"), status=409)
        kubernetes_schemas.check(manifest)
        self.put(manifest)
        return web.json_response(self.shown(manifest))

    def shown(self, manifest):
        return {key: value for key, value in manifest.items() if key != "killed"}

    async def get(self, request):
        found = self.named(request[KIND], request.match_info["name"])
        if found is None:
            return web.json_response(status(404, "NotFound"), status=404)
        return web.json_response(self.shown(found))

    async def delete(self, request):
        found = self.named(request[KIND], request.match_info["name"])
        if found is None:
            return web.json_response(status(404, "NotFound"), status=404)
        if request[KIND] == "Job":
            self.spawn(self.delete_job(found))
        else:
            self.put(found, "DELETED")
        return web.json_response(self.shown(found))

    def matches(self, request, manifest):
        return labels_of(request.query.get("labelSelector", "")).items() <= manifest["metadata"]["labels"].items()

    async def list(self, request):
        if request.query.get("watch") == "true":
            return await self.watch(request)
        items = [
            self.shown(manifest)
            for (kind, _), manifest in self.objects.items()
            if kind == request[KIND] and self.matches(request, manifest)
        ]
        api = "batch/v1" if request[KIND] == "Job" else "v1"
        meta = {"resourceVersion": str(self.version)}
        return web.json_response({"apiVersion": api, "kind": request[KIND] + "List", "metadata": meta, "items": items})

    async def watch(self, request):
        seen = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self.streams.add(request.transport)
        try:
            while True:
                if seen < self.oldest:
                    gone = {"type": "ERROR", "object": status(410, "Expired", "too old resource version")}
                    await response.write(json.dumps(gone).encode() + b"\n")
                    return response
                woken = self.woken
                for version, event, manifest in list(self.history):
                    if version > seen and manifest["kind"] == request[KIND] and self.matches(request, manifest):
                        line = {"type": event, "object": self.shown(manifest)}
                        await response.write(json.dumps(line).encode() + b"\n")
                seen = max(seen, self.version)
                bookmark = {"kind": request[KIND], "metadata": {"resourceVersion": str(seen)}}
                await response.write(json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n")
                await woken.wait()
        finally:
            self.streams.discard(request.transport)

    def forget_history(self):
        """Compact: whoever watches from before is too late."""
        self.history.clear()
        self.oldest = self.version

    def break_streams(self):
        """Cut every watch and log that is open, in the middle."""
        for transport in list(self.streams):
            transport.abort()

    async def log(self, request):
        name = request.match_info["name"]
        response = web.StreamResponse()
        if self.named("Pod", name) is None:
            return web.json_response(status(404, "NotFound"), status=404)
        await response.prepare(request)
        self.streams.add(request.transport)
        sent = 0
        try:
            while True:
                woken = self.woken
                data = self.logs.get(name, b"")
                if data[sent:]:
                    await response.write(data[sent:])
                    sent = len(data)
                pod = self.named("Pod", name)
                if pod is None or pod["status"]["phase"] in {"Succeeded", "Failed"}:
                    return response
                await woken.wait()
        finally:
            self.streams.discard(request.transport)


@asynccontextmanager
async def serving(cluster, folder):
    """Serve the cluster on the loopback address, and give the path of a kubeconfig for it."""
    runner = web.AppRunner(cluster.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {"token": "sesame"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    try:
        yield path
    finally:
        for task in list(cluster.tasks):
            task.cancel()
        cluster.break_streams()
        await runner.cleanup()
