# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol's two encodings: whole round trips, and every malformed request refused."""

import json
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.errors import InvalidArgumentError
from dragoman_gateway.infer_contract import InferCall
from dragoman_gateway.limits import Limits
from dragoman_gateway.oip_codec import answer_to_pb, call_from_pb, decode_bytes_tensor, encode_bytes_tensor
from dragoman_gateway.outcome import RowOutcome
from dragoman_gateway.pipeline import Answer
from dragoman_gateway.rest_codec import answer_to_json, call_from_json, parse_object
from dragoman_gateway.selector import parse_selector
from inference import oip_pb2

LIMITS = Limits()
TEXTS = st.lists(st.text(max_size=50), min_size=1, max_size=20)


def request(texts, *, is_raw, **members):
    elements = [text.encode() for text in texts]
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[len(texts)])
    if not is_raw:
        tensor.contents.bytes_contents.extend(elements)
    raw = [encode_bytes_tensor(elements)] if is_raw else []
    return oip_pb2.ModelInferRequest(**({"model_name": "r8", "inputs": [tensor], "raw_input_contents": raw} | members))


def answer(make, num_rows):
    scores_NC = np.random.default_rng(0).dirichlet([1, 1, 1], num_rows).astype(np.float32)
    rows = tuple(
        RowOutcome(
            label=make.labels[int(scores.argmax())],
            score=float(scores.max()),
            scores=scores,
            truncated=row == 0,
            num_tokens=1,
            num_unknown=0,
            text_bytes=1,
        )
        for row, scores in enumerate(scores_NC)
    )
    return Answer(request_id="ab" * 16, version=make.served(make.key(3)), rows=rows)


@given(st.lists(st.binary(max_size=64), max_size=30))
def test_bytes_tensors_survive_the_round_trip(elements):
    assert decode_bytes_tensor(encode_bytes_tensor(elements), len(elements), field="text") == elements


@given(st.binary(max_size=200), st.integers(0, 40))
def test_any_bytes_decode_to_themselves_or_are_refused(raw, count):
    try:
        elements = decode_bytes_tensor(raw, count, field="text")
    except InvalidArgumentError:
        return
    assert (len(elements), encode_bytes_tensor(elements)) == (count, raw)


@given(TEXTS, st.booleans())
def test_texts_arrive_as_they_were_sent(texts, is_raw):
    call = call_from_pb(request(texts, is_raw=is_raw, id="client-7"), LIMITS)
    assert (call.texts, call.is_raw, call.client_id, call.outputs) == (texts, is_raw, "client-7", ("label", "scores"))


@given(st.binary(max_size=300))
def test_random_bytes_never_do_worse_than_a_refusal(data):
    message = oip_pb2.ModelInferRequest()
    with suppress(DecodeError, InvalidArgumentError):
        message.ParseFromString(data)
        call_from_pb(message, LIMITS)


def raw_of(*parts):
    return [b"".join(parts)]


LENGTH = struct.Struct("<I").pack


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"raw_input_contents": raw_of(LENGTH(3), b"oi")}, r"text\[0\]: its length is 3"),
        ({"raw_input_contents": raw_of(LENGTH(2), b"oil")}, "left over"),
        ({"raw_input_contents": raw_of(LENGTH(0xFFFFFFFF), b"oil")}, "its length is 4294967295"),
        ({"raw_input_contents": raw_of(b"\x01\x00")}, "too short"),
        ({"raw_input_contents": [b"", b""]}, "2 entries for 1 input"),
        ({"raw_input_contents": raw_of(LENGTH(2), b"\xff\xfe")}, r"text\[0\] is not valid UTF-8"),
        ({"raw_input_contents": raw_of(LENGTH(65_537), b"x" * 65_537)}, "max_text_bytes = 65536"),
        ({"model_name": "R8"}, "model_name"),
        ({"model_version": "latest"}, "model_version"),
        ({"model_version": "0"}, "model_version"),
        ({"id": "x" * 257}, "id is over 256 bytes"),
        ({"parameters": {"temperature": oip_pb2.InferParameter(double_param=1)}}, "'temperature'"),
        ({"inputs": []}, "exactly one tensor, text"),
        ({"outputs": [oip_pb2.ModelInferRequest.InferRequestedOutputTensor(name="logits")]}, "'logits'"),
        ({"outputs": [oip_pb2.ModelInferRequest.InferRequestedOutputTensor(name="label")] * 2}, "twice"),
    ],
)
def test_malformed_requests_name_the_field(change, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call_from_pb(request(["oil"], is_raw=True, **change), LIMITS)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([2**62, 2], "shape is"),
        ([2**63 - 1], "9223372036854775807 rows, at most 256"),
        ([-1], "shape is"),
        ([0], "no rows"),
        ([], "shape is"),
        ([1, 1], r"must be \[N\]"),
        ([257], "257 rows, at most 256"),
        ([2], "too short"),
    ],
)
def test_a_shape_is_checked_before_anything_is_allocated_for_it(shape, message):
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=shape)
    message_in = request(["oil"], is_raw=True, inputs=[tensor])
    tracemalloc.start()
    with pytest.raises(InvalidArgumentError, match=message):
        call_from_pb(message_in, LIMITS)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


@pytest.mark.parametrize("datatype", ["", "INT32", "bytes", "STRING", "X" * 10_000])
def test_other_datatypes_are_refused(datatype):
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="text", datatype=datatype, shape=[1])
    with pytest.raises(InvalidArgumentError, match="must be BYTES"):
        call_from_pb(request(["oil"], is_raw=True, inputs=[tensor]), LIMITS)


def test_contents_and_raw_contents_together_are_refused():
    typed = request(["oil"], is_raw=False)
    typed.raw_input_contents.append(encode_bytes_tensor([b"oil"]))
    with pytest.raises(InvalidArgumentError, match="not both"):
        call_from_pb(typed, LIMITS)


def test_typed_contents_of_another_kind_or_count_are_refused():
    wrong_kind = request(["oil"], is_raw=False)
    wrong_kind.inputs[0].contents.int_contents.append(1)
    with pytest.raises(InvalidArgumentError, match="bytes_contents"):
        call_from_pb(wrong_kind, LIMITS)
    wrong_count = request(["oil"], is_raw=False)
    wrong_count.inputs[0].shape[0] = 2
    with pytest.raises(InvalidArgumentError, match="shape says 2 elements, bytes_contents holds 1"):
        call_from_pb(wrong_count, LIMITS)


@pytest.mark.parametrize(
    "name", ["triton_enable_empty_final_response", "sequence_id", "priority", "timeout", "headers"]
)
def test_parameters_that_clients_of_the_protocol_set_are_tolerated(name):
    call_from_pb(request(["oil"], is_raw=True, parameters={name: oip_pb2.InferParameter(int64_param=1)}), LIMITS)


@pytest.mark.parametrize("is_raw", [True, False])
def test_the_answer_is_encoded_as_it_was_asked(make, is_raw):
    call = call_from_pb(request(["a", "b"], is_raw=is_raw, id="client-7"), LIMITS)
    made = answer(make, 2)
    response = answer_to_pb(call, made)
    assert (response.model_name, response.model_version, response.id) == ("r8", "3", "client-7")
    assert response.parameters["dragoman_request_id"].string_param == made.request_id
    assert response.parameters["dragoman_num_truncated"].int64_param == 1
    assert [(out.name, out.datatype, list(out.shape)) for out in response.outputs] == [
        ("label", "BYTES", [2]),
        ("scores", "FP32", [2, 3]),
    ]
    if is_raw:
        labels = decode_bytes_tensor(response.raw_output_contents[0], 2, field="label")
        scores = np.frombuffer(response.raw_output_contents[1], "<f4")
        assert not any(out.HasField("contents") for out in response.outputs)
    else:
        labels = response.outputs[0].contents.bytes_contents
        scores = np.array(response.outputs[1].contents.fp32_contents, np.float32)
        assert not response.raw_output_contents
    assert [label.decode() for label in labels] == [row.label for row in made.rows]
    np.testing.assert_array_equal(scores, np.concatenate([row.scores for row in made.rows]))


def test_outputs_are_answered_by_name_in_the_order_asked(make):
    asked = [oip_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("scores", "label")]
    response = answer_to_pb(call_from_pb(request(["a"], is_raw=True, outputs=asked), LIMITS), answer(make, 1))
    assert [out.name for out in response.outputs] == ["scores", "label"]
    assert len(response.raw_output_contents[0]) == 12
    only = answer_to_pb(call_from_pb(request(["a"], is_raw=False, outputs=asked[1:]), LIMITS), answer(make, 1))
    assert [out.name for out in only.outputs] == ["label"]


def body(**changes):
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["oil"]}
    return json.dumps({"inputs": [tensor | changes.pop("tensor", {})]} | changes).encode()


def rest_call(data):
    return call_from_json(parse_object(data), parse_selector("r8"), LIMITS)


@given(TEXTS)
def test_json_texts_arrive_as_they_were_sent(texts):
    data = json.dumps({"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}]})
    assert rest_call(data.encode()).texts == texts


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"id": "a", "id": "b"}', "twice"),
        (body(texts=[]), "'texts'"),
        (body(id=7), "id is missing, or not a string"),
        (body(parameters=[]), "parameters is not an object"),
        (body(parameters={"temperature": 1}), "'temperature'"),
        (body(parameters={"binary_data_output": True}), "binary_data_output is not served over HTTP"),
        (body(outputs=[{"name": "logits"}]), "'logits'"),
        (body(outputs=[{"name": "label", "data": []}]), "'data'"),
        (body(tensor={"shape": [True]}), "whole numbers"),
        (body(tensor={"shape": [2**70]}), "at most 256"),
        (body(tensor={"shape": [2]}), "shape says 2 elements, data holds 1"),
        (body(tensor={"data": "oil"}), "flat list of strings"),
        (body(tensor={"data": [["oil"]]}), "flat list of strings"),
        (body(tensor={"data": ["\ud800"]}), "surrogate"),
        (body(tensor={"parameters": {"binary_data_size": 3}}), "'binary_data_size'"),
    ],
)
def test_malformed_bodies_name_the_member(data, message):
    with pytest.raises(InvalidArgumentError, match=message):
        rest_call(data)


def test_json_answers_hold_the_same_numbers(make):
    call = InferCall(selector=parse_selector("r8"), texts=["a", "b"], outputs=("scores", "label"), client_id="client-7")
    made = answer(make, 2)
    document = json.loads(json.dumps(answer_to_json(call, made)))
    assert (document["id"], document["model_version"]) == ("client-7", "3")
    assert [tensor["name"] for tensor in document["outputs"]] == ["scores", "label"]
    np.testing.assert_array_equal(
        np.array(document["outputs"][0]["data"], np.float32), np.concatenate([row.scores for row in made.rows])
    )
