# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What peers of another release rely on: every field's number and type, every enum value, every method.

    protos/**/*.proto -> protoc -> descriptors -> name: meaning on the wire
    wire_numbers.json: the same, as released

`python -m tests.repository.wire_numbers` adds to the JSON what is new. It does not take out or change what is there:
that breaks running peers, and is done by hand, by whoever has made sure that there are none.
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parents[2] / "protos"
RELEASED = Path(__file__).with_suffix(".json")
_FIELD = descriptor_pb2.FieldDescriptorProto


def compiled(folder: Path = PROTOS) -> list[descriptor_pb2.FileDescriptorProto]:
    """The descriptors of every .proto below a folder.

    Raises:
        ValueError: protoc refused one.
    """
    sources = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto") if "gen" not in path.parts)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "descriptors"
        if protoc.main(["protoc", f"-I{folder}", f"-I{well_known}", f"--descriptor_set_out={out}", *sources]) != 0:
            raise ValueError("protoc refused a file; its message is above")
        return list(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file)


def wire_numbers(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> dict[str, dict[str, str]]:
    """Message, enum or service -> field, value or method -> what it means on the wire."""
    found: dict[str, dict[str, str]] = {}
    for file in files:
        for message in file.message_type:
            found.update(_of_message(message, file.package))
        for enum in file.enum_type:
            found.update(_of_enum(enum, file.package))
        for service in file.service:
            found[f"{file.package}.{service.name}"] = {
                method.name: f"{_stream(method.client_streaming)}{method.input_type[1:]} -> "
                f"{_stream(method.server_streaming)}{method.output_type[1:]}"
                for method in service.method
            }
    return found


def broken(released: dict[str, dict[str, str]], current: dict[str, dict[str, str]]) -> list[str]:
    """What peers of the release would read otherwise, or not find, one line each."""
    return [
        f"{owner}.{name}: released as {meaning!r}, now {current.get(owner, {}).get(name, 'gone')!r}"
        for owner, members in sorted(released.items())
        for name, meaning in sorted(members.items())
        if current.get(owner, {}).get(name) != meaning
    ]


def released() -> dict[str, dict[str, str]]:
    document: dict[str, dict[str, str]] = json.loads(RELEASED.read_text())
    return document


def _of_message(message: descriptor_pb2.DescriptorProto, scope: str) -> Iterator[tuple[str, dict[str, str]]]:
    name = f"{scope}.{message.name}"
    yield name, {field.name: _meaning(field) for field in message.field}
    for nested in message.nested_type:
        yield from _of_message(nested, name)
    for enum in message.enum_type:
        yield from _of_enum(enum, name)


def _of_enum(enum: descriptor_pb2.EnumDescriptorProto, scope: str) -> Iterator[tuple[str, dict[str, str]]]:
    yield f"{scope}.{enum.name}", {value.name: str(value.number) for value in enum.value}


def _meaning(field: descriptor_pb2.FieldDescriptorProto) -> str:
    kind = field.type_name[1:] or _FIELD.Type.Name(field.type).removeprefix("TYPE_").lower()
    many = "repeated " if field.label == _FIELD.LABEL_REPEATED else ""
    return f"{field.number} {many}{kind}"


def _stream(is_stream: bool) -> str:
    return "stream " if is_stream else ""


def main() -> int:
    """Add what is new; 1 where something released is broken."""
    current = wire_numbers(compiled())
    before = released() if RELEASED.exists() else {}
    problems = broken(before, current)
    if problems:
        sys.stderr.write("\n".join(problems) + "\n")
        return 1
    RELEASED.write_text(json.dumps(current, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
