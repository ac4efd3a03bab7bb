"""A two-node ONNX model that picks rows, as bytes: rows = Gather(Concat(present, joining), index).

Serving has no `onnx` to build it with, so the few fields are encoded here (onnx.proto, Protocol Buffers wire format).
"""

FLOAT, INT64 = 1, 7  # TensorProto.DataType
_OPSET, _IR_VERSION = 20, 10
_INT_ATTRIBUTE = 2


def gather_model() -> bytes:
    """The model. Inputs: present float32 [P, ...], joining float32 [J, ...], index int64 [n] below P + J.

    Output: rows float32 [n, ...]. The rank is open.
    """
    concat = _node("Concat", ["present", "joining"], "all")
    gather = _node("Gather", ["all", "index"], "rows")
    graph = b"".join(
        (
            _field(1, concat),
            _field(1, gather),
            _field(2, b"gather"),
            _field(11, _value("present", FLOAT)),
            _field(11, _value("joining", FLOAT)),
            _field(11, _value("index", INT64)),
            _field(12, _value("rows", FLOAT)),
        )
    )
    return _number(1, _IR_VERSION) + _field(7, graph) + _field(8, _number(2, _OPSET))


def _node(operator: str, inputs: list[str], output: str) -> bytes:
    axis = _field(1, b"axis") + _number(3, 0) + _number(20, _INT_ATTRIBUTE)
    names = b"".join(_field(1, name.encode()) for name in inputs)
    name, kind = _field(3, operator.encode()), _field(4, operator.encode())
    return names + _field(2, output.encode()) + name + kind + _field(5, axis)


def _value(name: str, element_type: int) -> bytes:
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, element_type)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
