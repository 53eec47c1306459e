# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What evidence of each kind says: strict JSON, one format a kind, read as untrusted input.

    evaluation        dragoman.evaluation/1, see evaluation: test sets with one bit a row
    robustness        dragoman.robustness/1: the same rows, disturbed; how many are still answered rightly
    measurement       dragoman.measurement/1: latency on named hardware
    approval          dragoman.approval/1: a person agrees that an alias may point here
    rollout-verdict   dragoman.rollout-verdict/1: what live traffic said about a candidate
    retraction        dragoman.retraction/1: other evidence of the version, which counts no more

Counts and microseconds are integers, so that no rounding decides.
"""

from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.evaluation import MAX_ROWS, DatasetEvaluation, parse_evaluation
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.record_fields import MAX_INTEGER, MAX_REASON_CHARS, sha256_field, text_value
from dragoman_text.strict_json import parse_object

EVALUATION = "evaluation"
ROBUSTNESS = "robustness"
MEASUREMENT = "measurement"
APPROVAL = "approval"
ROLLOUT_VERDICT = "rollout-verdict"
RETRACTION = "retraction"
KINDS = (EVALUATION, ROBUSTNESS, MEASUREMENT, APPROVAL, ROLLOUT_VERDICT, RETRACTION)

# With its record it must fit a message of 4 MiB, base64 and JSON quoting included.
MAX_DOCUMENT_CHARS = 1 << 20
MAX_SUITES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class RobustnessSuite:
    """One way of disturbing a test set, such as typos.

    Attributes:
        digest: SHA-256 in hex of the disturbed rows.
        num_correct: Rows answered rightly when disturbed.
        num_correct_clean: The same rows answered rightly as they were.
    """

    name: str
    digest: str
    num_rows: int
    num_correct: int
    num_correct_clean: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """Latency of calls of so many rows, in microseconds."""

    hardware: str
    rows_per_call: int
    num_calls: int
    p50_us: int
    p99_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """A person's agreement; for one alias, or for any where alias is empty."""

    alias: str
    comment: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutVerdict:
    """What a rollout found: promote or abort, and on which event of the alias it rests."""

    alias: str
    sequence: int
    verdict: str
    summary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Retraction:
    """The word that a piece of evidence of the same version, by its digest, counts no more, and why."""

    digest: str
    reason: str


def check_document(kind: str, document: str) -> None:
    """Refuse a document that is not of its kind's format.

    Raises:
        InvalidArgumentError: an unknown kind, or anything that the kind's parser refuses.
    """
    parsers = {
        EVALUATION: parse_evaluation_document,
        ROBUSTNESS: parse_robustness,
        MEASUREMENT: parse_measurement,
        APPROVAL: parse_approval,
        ROLLOUT_VERDICT: parse_rollout_verdict,
        RETRACTION: parse_retraction,
    }
    if kind not in parsers:
        raise InvalidArgumentError(f"kind {kind[:64]!r} is none of {', '.join(KINDS)}")
    if len(document) > MAX_DOCUMENT_CHARS:
        raise InvalidArgumentError(f"document has {len(document)} characters, the limit is {MAX_DOCUMENT_CHARS}")
    parsers[kind](document)


def parse_evaluation_document(document: str) -> tuple[DatasetEvaluation, ...]:
    """Read an evaluation. Raises InvalidArgumentError."""
    return parse_evaluation(_bytes(document))


def parse_robustness(document: str) -> tuple[RobustnessSuite, ...]:
    """Read robustness suites. Raises InvalidArgumentError, also for counts that contradict each other."""
    top = _top(document, ROBUSTNESS, ("suites",))
    suites = tuple(_suite(value) for value in top.items("suites", max_items=MAX_SUITES))
    if not suites or len({suite.name for suite in suites}) != len(suites):
        raise InvalidArgumentError(f"{ROBUSTNESS}: at least one suite, and each name once")
    return suites


def parse_measurement(document: str) -> Measurement:
    """Read a latency measurement. Raises InvalidArgumentError."""
    top = _top(document, MEASUREMENT, tuple(Measurement.__dataclass_fields__))
    found = Measurement(
        hardware=top.text("hardware"),
        rows_per_call=top.integer("rows_per_call", low=1, high=MAX_ROWS),
        num_calls=top.integer("num_calls", low=100, high=MAX_INTEGER),
        p50_us=top.integer("p50_us", low=0, high=MAX_INTEGER),
        p99_us=top.integer("p99_us", low=0, high=MAX_INTEGER),
    )
    if found.p50_us > found.p99_us:
        raise InvalidArgumentError(f"{MEASUREMENT}: p50_us is above p99_us")
    return found


def parse_approval(document: str) -> Approval:
    """Read an approval. Raises InvalidArgumentError."""
    top = _top(document, APPROVAL, tuple(Approval.__dataclass_fields__))
    return Approval(alias=_short(top, "alias", 63), comment=_short(top, "comment", MAX_REASON_CHARS))


def parse_rollout_verdict(document: str) -> RolloutVerdict:
    """Read a rollout's verdict. Raises InvalidArgumentError."""
    top = _top(document, ROLLOUT_VERDICT, tuple(RolloutVerdict.__dataclass_fields__))
    return RolloutVerdict(
        alias=top.text("alias", max_chars=63),
        sequence=top.integer("sequence", low=1, high=MAX_INTEGER),
        verdict=top.text("verdict", choices=("promote", "abort")),
        summary=_short(top, "summary", MAX_REASON_CHARS),
    )


def parse_retraction(document: str) -> Retraction:
    """Read a retraction. Raises InvalidArgumentError, also when it gives no reason."""
    top = _top(document, RETRACTION, tuple(Retraction.__dataclass_fields__))
    found = Retraction(digest=sha256_field(top, "digest"), reason=_short(top, "reason", MAX_REASON_CHARS))
    if not found.reason:
        raise InvalidArgumentError(f"{RETRACTION}: reason must say why")
    return found


def _top(document: str, kind: str, keys: tuple[str, ...]) -> Fields:
    value = parse_object(_bytes(document), what=kind, max_bytes=4 * MAX_DOCUMENT_CHARS)
    top = Fields(value, what=kind, required=("format", *keys))
    top.text("format", choices=(f"dragoman.{kind}/1",))
    return top


def _bytes(document: str) -> bytes:
    try:
        return document.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("document holds text that is not valid Unicode") from error


def _short(fields: Fields, key: str, max_chars: int) -> str:
    text = text_value(fields.raw(key), f"{fields.what}: {key}")
    if len(text) > max_chars or not text.isprintable():
        raise InvalidArgumentError(f"{fields.what}: {key} must be at most {max_chars} printable characters")
    return text


def _suite(value: JsonValue) -> RobustnessSuite:
    fields = Fields(value, what=f"{ROBUSTNESS}: suite", required=tuple(RobustnessSuite.__dataclass_fields__))
    num_rows = fields.integer("num_rows", low=1, high=MAX_ROWS)
    return RobustnessSuite(
        name=fields.text("name", max_chars=63),
        digest=sha256_field(fields, "digest"),
        num_rows=num_rows,
        num_correct=fields.integer("num_correct", low=0, high=num_rows),
        num_correct_clean=fields.integer("num_correct_clean", low=0, high=num_rows),
    )
