"""What an ONNX file says of its inputs, outputs and weights, read without the package onnx, which no robot has.

The numbers of the fields are those of onnx.proto3, of the kinds those of TensorProto.DataType.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

FLOAT = 1
KINDS = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
         11: "float64", 16: "bfloat16"}
"""Names of the numbers of tensors, by ONNX's number."""

_MOVES = {"Identity", "Cast", "Transpose", "Reshape", "Resize", "Upsample", "Squeeze", "Unsqueeze", "Slice", "Dropout",
          "Flatten", "Clip", "QuantizeLinear", "DequantizeLinear", "Pad", "Split", "Gather", "DepthToSpace",
          "AveragePool", "MaxPool"}
"""Operators that change where a value is and how it is stored, not what it means."""

_SCALES = {"Identity", "Cast", "Add", "Sub", "Mul", "Div", "Clip", "QuantizeLinear", "DequantizeLinear"}
"""Operators that an image may go through before it is laid out in another way."""

_EXTERNAL = 1
_NOT_PROTOBUF = "not a protobuf message"
_DEEPEST = 8  # graphs within graphs

_Part = int | memoryview
"""What a field holds: a number, or the bytes of a text or of a message."""


@dataclass(frozen=True)
class Value:
    """An input or output. kind: ONNX's number, 0 where the file does not say. shape: None for a side that is not fixed;
    None altogether where the file does not say. made_by: the operator that gives an output its meaning, "" where there
    is none, or several. turned: the permutation that an input goes through first, () where there is none."""

    name: str
    kind: int
    shape: tuple[int | None, ...] | None
    made_by: str = ""
    turned: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Node:
    """An operator. turns: the permutation of a Transpose."""

    operator: str
    taken: tuple[str, ...]
    given: tuple[str, ...]
    turns: tuple[int, ...]


@dataclass(frozen=True)
class OnnxHeader:
    """external: names of the other files in which weights are."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    external: tuple[str, ...]


def read_header(path: Path) -> OnnxHeader | None:
    """What an ONNX file says of itself; None for a file that is not ONNX, of which a runtime says what is wrong."""
    try:
        with path.open("rb") as file:
            model = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # weights are passed over unread
        graph = next((value for field, value in _fields(model) if field == 7), None)
        return None if graph is None else _graph(graph)
    except (ValueError, IndexError):
        return None


def _graph(graph: _Part) -> OnnxHeader:
    weights: set[str] = set()
    nodes: list[_Node] = []
    inputs: list[Value] = []
    outputs: list[Value] = []
    external: list[str] = []
    for field, value in _fields(graph):
        if field == 1:
            nodes.append(_node(value, external))
        elif field == 5:
            name, where = _tensor(value)
            weights.add(name)
            external += where
        elif field == 11:
            inputs.append(_value(value))
        elif field == 12:
            outputs.append(_value(value))
    makers = {name: node for node in nodes for name in node.given}
    return OnnxHeader(tuple(replace(v, turned=_turned(v.name, nodes)) for v in inputs if v.name not in weights),
                      tuple(replace(v, made_by=_made_by(v.name, makers)) for v in outputs),
                      tuple(dict.fromkeys(external)))


def _node(node: _Part, external: list[str]) -> _Node:
    """An operator; the names of other files with weights go to `external`."""
    operator = ""
    taken: list[str] = []
    given: list[str] = []
    attributes: list[_Part] = []
    for field, part in _fields(node):
        if field == 1:
            taken.append(_text(part))
        elif field == 2:
            given.append(_text(part))
        elif field == 4:
            operator = _text(part)
        elif field == 5:
            external += _external_in_attribute(part, 0)
            attributes.append(part)
    turns = (_whole_numbers(part, "perm") for part in attributes if operator == "Transpose")
    return _Node(operator, tuple(taken), tuple(given), next(filter(None, turns), ()))


def _made_by(name: str, makers: dict[str, _Node]) -> str:
    """The operator behind an output, through those that only move it, and those that put like things together."""
    found, seen, waiting = set(), set(), [name]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = makers.get(name)
        if node is None:
            found.add("")
        elif node.operator in _MOVES:
            waiting += node.taken[:1]
        elif node.operator == "Concat":
            waiting += node.taken
        else:
            found.add(node.operator)
    return found.pop() if len(found) == 1 else ""


def _turned(name: str, nodes: list[_Node]) -> tuple[int, ...]:
    """The permutation of the first Transpose that an input comes to, where nothing but scaling is before it."""
    same = {name}
    for node in nodes:  # ONNX has them in the order in which they are computed
        if same & set(node.taken):
            if node.operator == "Transpose":
                return node.turns
            if node.operator in _SCALES:
                same |= set(node.given)
    return ()


def _tensor(tensor: _Part) -> tuple[str, list[str]]:
    """Name of a weight, and the files in which it is if not in this one."""
    name, outside = "", False
    where: list[str] = []
    for field, value in _fields(tensor):
        if field == 8:
            name = _text(value)
        elif field == 13:
            entry = {inner: _text(part) for inner, part in _fields(value)}
            if entry.get(1) == "location":
                where.append(entry.get(2, ""))
        elif field == 14:
            outside = value == _EXTERNAL
    return name, where if outside else []


def _external_in_attribute(attribute: _Part, depth: int) -> list[str]:
    """Weights may also be in the attributes of operators, and in graphs that are attributes."""
    found: list[str] = []
    for field, value in _fields(attribute):
        if field in (5, 10):
            found += _tensor(value)[1]
        elif field in (6, 11) and depth < _DEEPEST:
            for inner, part in _fields(value):
                if inner == 5:
                    found += _tensor(part)[1]
                elif inner == 1:
                    for place, deeper in _fields(part):
                        if place == 5:
                            found += _external_in_attribute(deeper, depth + 1)
    return found


def _whole_numbers(attribute: _Part, name: str) -> tuple[int, ...]:
    """The whole numbers of an attribute; () for one of another name."""
    found: list[int] = []
    named = ""
    for field, value in _fields(attribute):
        if field == 1:
            named = _text(value)
        elif field == 8 and isinstance(value, int):
            found.append(value)
        elif field == 8:  # packed
            at, packed = 0, _bytes(value)
            while at < len(packed):
                number, at = _varint(packed, at)
                found.append(number)
    return tuple(found) if named == name else ()


def _value(info: _Part) -> Value:
    name, kind = "", 0
    shape: tuple[int | None, ...] | None = None
    for field, value in _fields(info):
        if field == 1:
            name = _text(value)
        elif field == 2:
            tensor = next((part for inner, part in _fields(value) if inner == 1), None)
            for inner, part in _fields(tensor) if tensor is not None else ():
                if inner == 1:
                    kind = _number(part)
                elif inner == 2:
                    shape = tuple(_side(side) for place, side in _fields(part) if place == 1)
    return Value(name, kind, shape)


def _side(side: _Part) -> int | None:
    return next((number for field, value in _fields(side) if field == 1 and (number := _number(value)) > 0), None)


def _text(value: _Part) -> str:
    return bytes(_bytes(value)).decode(errors="replace")


def _number(value: _Part) -> int:
    if not isinstance(value, int):
        raise ValueError(_NOT_PROTOBUF)
    return value


def _bytes(value: _Part) -> memoryview:
    if isinstance(value, int):
        raise ValueError(_NOT_PROTOBUF)
    return value


def _fields(part: _Part) -> Iterator[tuple[int, _Part]]:
    """The fields of a message in protobuf's wire format: number, and value. Raises ValueError."""
    message = _bytes(part)
    at, size = 0, len(message)
    while at < size:
        key = message[at]  # nearly all are of one byte: a network has ten thousands
        at += 1
        if key >= 0x80:
            key, at = _varint(message, at - 1)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield field, value
            continue
        length: int | None
        if wire == 2:
            length = message[at]
            at += 1
            if length >= 0x80:
                length, at = _varint(message, at - 1)
        else:
            length = {1: 8, 5: 4}.get(wire)
        if length is None or at + length > size or not field:
            raise ValueError(_NOT_PROTOBUF)
        yield field, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(_NOT_PROTOBUF)
