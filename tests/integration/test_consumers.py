# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Two consumers that import nothing of ours count the real topics as the monitor does, field by field."""

import asyncio
import json
import os
import subprocess
import sys
import zipfile
from contextlib import ExitStack

import pytest

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common.channel import connect
from dragoman_common.settings import parse
from dragoman_common.testing import TestKeys
from dragoman_events.opening import open_log
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.settings import PREFIX, Settings
from tests.integration import consumers, crooked_events
from tests.integration.consumers import document_counts, report_counts
from tests.integration.installation import until
from tests.parts import kafka
from tests.parts.missing import required

NUM_CALLS = 1_000
START_S = 60
WINDOW_S = 60
LANGUAGES = ("python", "java")
# A bug in the consumer, as a piece of its source and what stands there instead.
BUGS = {
    "repetitions count": ("if event.arm in row.arms:", "if False:"),
    "the older label holds": ("if label <= older:", "if label > older:"),
    "an older label is not taken back": ("measures.confusion[older[1], answer] -= 1", "pass"),
    "late labels are not joined": ("for measures, answer in row.arms.values():", "for measures, answer in []:"),
    "poison counts": ('require(bool(CODE.fullmatch(event.code)), "code")', "pass"),
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """TLS and SASL, as a cluster of an enterprise; its topics have their real names, so it is nobody else's."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("kafka")
        yield required("kafka", lambda: stack.enter_context(kafka.running(folder, secured=True)))


@pytest.fixture(scope="module")
def settings(broker, tmp_path_factory):
    """The monitor's, as variables."""
    folder = tmp_path_factory.mktemp("monitor")
    keys = TestKeys()
    keys.key("monitor").save(folder)
    keys.trust.save(folder / "trust.json")
    values = consumers.environment(broker) | {
        "KEY_FILE": str(folder / "monitor.pem"),
        "TRUST_FILE": str(folder / "trust.json"),
        "READY_FILE": str(folder / "ready.json"),
        "STATE_URL": f"sqlite://{folder}/monitor.db",
        "WINDOW_S": str(WINDOW_S),
    }
    return keys, folder / "ready.json", {PREFIX + name: value for name, value in values.items()}


@pytest.fixture(scope="module")
def log(settings):
    parsed = parse(Settings, settings[2], prefix=PREFIX)
    log = open_log(parsed.events_url, parsed.kafka)
    yield log
    log.close()


@pytest.fixture(scope="module")
def written(log):
    stream = crooked_events.stream(num_calls=NUM_CALLS)
    for topic, messages in stream.messages.items():
        log.write(topic, messages)
    return stream


@pytest.fixture(scope="module")
def report(settings, written):
    """What the monitor, a process over the same topics, says of tenant acme's model r8."""
    keys, ready, variables = settings
    process = subprocess.Popen([sys.executable, "-m", "dragoman_monitor"], env=os.environ | variables)
    try:
        until(ready.exists, timeout_s=START_S)
        target = f"127.0.0.1:{json.loads(ready.read_text())['port']}"
        yield asyncio.run(settled_report(target, keys))
    finally:
        process.terminate()
        assert process.wait(START_S) == 0


async def settled_report(target, keys):
    async with (
        asyncio.timeout(START_S),
        connect(target, audience="monitor", tokens=keys.tokens("operator", tenant="acme")) as channel,
    ):
        while True:
            request = pb.GetReportRequest(model="r8", with_windows=True)
            answer = await pb_grpc.MonitorServiceStub(channel).GetReport(request)
            if not (answer.freshness.predictions_lag or answer.freshness.feedback_lag):
                return answer
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def built(broker, tmp_path_factory):
    """A consumer by its language, made at its first use."""
    made = {}

    def consumer(language):
        if language not in made:
            folder = tmp_path_factory.mktemp("consumer") / language
            if language == "python":
                made[language] = consumers.python_consumer(folder, broker)
            else:
                made[language] = required("java", lambda: consumers.java_consumer(folder, broker))
        return made[language]

    return consumer


@pytest.fixture(scope="module")
def printed(built, written):
    """What a consumer of a language prints, once."""
    made = {}

    def document(language):
        if language not in made:
            made[language] = built(language).run("--window-s", str(WINDOW_S))
        return made[language]

    return document


@pytest.mark.parametrize("language", LANGUAGES)
def test_consumer_counts_the_topics_as_get_report_does(report, printed, language):
    assert document_counts(printed(language)) == report_counts(report)


def test_stream_has_every_kind_of_event(report):
    counts = report_counts(report)
    assert set(counts["versions"]) == {(1, "stable"), (2, "canary"), (2, "shadow")}
    assert all(total["labelled"] > total["correct"] > 0 for total, _ in counts["versions"].values())
    assert all(total["truncated"] and len(windows) > 2 for total, windows in counts["versions"].values())
    assert counts["versions"][1, "stable"][0]["errors_by_code"].keys() == {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert min(counts["duplicates"], counts["unjoined"], counts["poison"]) > 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_consumer_counts_tokens_of_each_row_once(written, printed, language):
    ours = [each for each in printed(language)["versions"] if (each["tenant"], each["model"]) == ("acme", "r8")]
    assert sum(version["total"]["tokens"] for version in ours) == written.num_tokens


def test_both_consumers_print_the_same_of_all_tenants_and_models(printed):
    assert printed("python") == printed("java")
    names = {(each["tenant"], each["model"]) for each in printed("java")["versions"]}
    assert names == {(tenant, model) for tenant in ("acme", "globex") for model in ("r8", "ag_news")}
    assert printed("java")["partitions"] == {PREDICTIONS: list(range(6)), FEEDBACK: list(range(6))}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_seen_in_the_counts(report, broker, tmp_path, bug):
    crooked = consumers.python_consumer(tmp_path / "python", broker, changed=BUGS[bug])
    document = crooked.run("--window-s", str(WINDOW_S), "--group", "crooked")
    assert document_counts(document) != report_counts(report)


@pytest.mark.parametrize("language", LANGUAGES)
def test_consumer_remembers_at_most_max_rows_and_says_what_it_forgot(built, written, language):
    document = built(language).run("--max-rows", "100", "--group", f"small-{language}")
    assert document["forgotten_rows"] > NUM_CALLS


def test_members_of_a_group_share_the_partitions_and_a_label_meets_its_prediction(built, printed):
    """One of each language in one group: what one had counted alone it counts again, and both add up to the whole."""
    whole = printed("python")
    group = ("--group", "shared")
    with built("python").following(*group) as first:
        first.until(lambda document: count(document) == count(whole))
        with built("java").following(*group) as second:
            halves = [{}, {}]

            def add_up(half):
                halves[:] = [half, second.document()]
                return sum(map(count, halves)) == count(whole) and all(len(partitions(half)) == 6 for half in halves)

            first.until(add_up)
    assert not set(partitions(halves[0])) & set(partitions(halves[1]))
    for name in ("labelled", "correct", "tokens"):
        assert sum(total(half, name) for half in halves) == total(whole, name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_consumer_that_follows_sees_what_comes_and_ends_when_it_is_told(built, printed, log, language):
    before = count(printed(language))
    with built(language).following("--group", f"follow-{language}") as consumer:
        consumer.until(lambda document: count(document) >= before)
        # From another tenant, so that what others compare stays.
        message = crooked_events.lonely_prediction(tenant=f"seen-by-{language}")
        log.write(PREDICTIONS, [message])
        consumer.until(lambda document: any(each["tenant"] == f"seen-by-{language}" for each in document["versions"]))


def count(document):
    """All that was taken, counted or not."""
    if not document:
        return 0
    tallies = [tally["duplicates"] + tally["poison"] for tally in document["tenants"].values()]
    return total(document, "predictions") + total(document, "labelled") + sum(tallies)


def total(document, name):
    return sum(version["total"][name] for version in document["versions"])


def partitions(document):
    return [(topic, number) for topic, numbers in document.get("partitions", {}).items() for number in numbers]


def test_python_consumer_runs_where_nothing_of_ours_can_be_imported(built):
    python = built("python").command[0]
    code = "import sys, confluent_kafka, google.protobuf\nfor name in sys.argv[1:]: __import__(name)"
    subprocess.run([python, "-I", "-c", code], check=True)
    members = ["dragoman_common", "dragoman_events", "dragoman_monitor", "dragoman_gateway", "dragoman", "inference"]
    for name in members:
        # Here it can be.
        subprocess.run([sys.executable, "-I", "-c", f"import {name}"], check=True)
        refused = subprocess.run([python, "-I", "-c", code, name], capture_output=True, text=True, check=False)
        assert f"ModuleNotFoundError: No module named '{name}'" in refused.stderr


def test_java_consumer_holds_its_own_classes_and_those_of_the_protos_only(built):
    jar = built("java").command[-1]
    with zipfile.ZipFile(jar) as archive:
        folders = {name.rpartition("/")[0] for name in archive.namelist() if name.endswith(".class")}
        manifest = archive.read("META-INF/MANIFEST.MF").decode().replace("\r\n ", "")
    assert folders == {"example", "dragoman/events/v1"}
    (libraries,) = [line.partition(": ")[2].split() for line in manifest.splitlines() if line.startswith("Class-Path")]
    assert not [name for name in libraries if "dragoman" in name]
    assert {"lib/kafka-clients-4.1.1.jar", "lib/protobuf-java-4.35.1.jar"} <= set(libraries)
