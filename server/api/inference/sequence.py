"""Models of frames asked by tensors: whole sequences, sequences that go on from call to call, and sessions.

A sequence is named by the client (`sequence_id`, a whole number or text; 0 and "" are none), begun with
`sequence_start` and over after `sequence_end`. A session (`session`) is one of /v1/sessions. Either reads one row a
call and stands afterwards after its last frame; a call that fails leaves it as it was.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from models.signature import InputPort, Port, Signature
from runtime.frames import num_frames
from runtime.runner import Array
from server.admission import working
from server.api.inference.tensors import DATATYPE_OF, PROTOCOL_PARAMETERS, Asked
from server.endpoint import Endpoint, LoadedModel, TensorInfo, TensorTask
from server.engine.sequence.request import FramesOutput, FramesRequest
from server.errors import FieldError, shown
from server.http.access import record_of
from server.service import Service
from server.sessions.sequences import SequenceUse

MAX_ROWS = 256  # of a request
_MOST_ID = 2**64 - 1
_PARAMETERS = ("sequence_id", "sequence_start", "sequence_end", "session", *PROTOCOL_PARAMETERS)
_LENGTHS = "lengths"


@dataclass(frozen=True)
class _Goal:
    """What a request goes on from.

    Attributes:
        sequence: an id of the client's; None for none.
        is_start: whether it begins there.
        is_end: whether it is over afterwards.
        session: the id of a session, or None.
    """

    sequence: int | str | None
    is_start: bool
    is_end: bool
    session: str | None


def _info(port: Port) -> TensorInfo:
    time = [-1] if port.has_time else []
    return TensorInfo(port.name, DATATYPE_OF[np.dtype(port.dtype)], [-1, *time, *port.shape])


def _signature(model: LoadedModel) -> Signature:
    assert model.signature is not None, "a model of this task has one"
    return model.signature


async def _answer(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Mapping[str, Array]:
    """The outputs. Raises ApiError."""
    signature, goal = _signature(endpoint.model), _goal_from(asked.parameters)
    if (goal.sequence is not None or goal.session is not None) and not endpoint.model.state_width:
        raise FieldError(
            f"Model {endpoint.id} keeps no state from call to call; send its sequences whole, without sequence_id.",
            param="sequence_id",
        )
    rows, time = _rows_from(asked.inputs, signature, endpoint)
    record = record_of(request)
    record.prompt_tokens = sum(num_frames(signature, row) for row in rows)
    async with AsyncExitStack() as stack:
        use: SequenceUse | None = None

        async def prepare(hold: Callable[[int], None]) -> FramesRequest:
            nonlocal use
            hold(record.prompt_tokens)
            use = await _begun(stack, service, endpoint, request, goal, len(rows))
            state = np.zeros(endpoint.model.state_width, np.float32) if use is None else use.state
            work = FramesRequest(keeps_state=use is not None)
            if use is not None:
                use.check(record.prompt_tokens)
            for row in rows:
                work.add_row(row, num_frames(signature, row), state)
            return work

        async with working(service, endpoint, request, prepare) as work:
            found: list[FramesOutput] = []
            while len(found) < len(rows):
                found += await work.outputs.get()
            found.sort(key=lambda output: output.number)
            if use is not None:
                use.finish(found[0].state, rows[0])
    return {
        port.name: _joined(port, [output.outputs[port.name] for output in found], time) for port in signature.outputs
    }


async def _begun(
    stack: AsyncExitStack, service: Service, endpoint: Endpoint, request: Request, goal: _Goal, num_rows: int
) -> SequenceUse | None:
    """The sequence or session that a request goes on from, used until the stack is left. Raises ApiError."""
    if goal.sequence is None and goal.session is None:
        return None
    if num_rows != 1:
        raise FieldError(
            f"A sequence has one row a call, and the inputs have {num_rows}. Send a request for each sequence.",
            param="inputs",
        )
    record = record_of(request)
    if goal.session is not None:
        return stack.enter_context(service.sessions.reading_on(goal.session, endpoint.model))
    assert goal.sequence is not None
    owner = record.client if service.settings.api_keys else ""
    using = service.sequences.using(
        endpoint.model, goal.sequence, owner, record.client, is_start=goal.is_start, is_end=goal.is_end
    )
    return await stack.enter_async_context(using)


def _goal_from(parameters: Mapping[str, Any]) -> _Goal:
    """Check the parameters. Raises FieldError."""
    for name in parameters:
        if name not in _PARAMETERS:
            raise FieldError(f"Unknown parameter {shown(name)}. Parameters: {', '.join(_PARAMETERS)}.", param=name)
    flags = {name: parameters.get(name, False) for name in ("sequence_start", "sequence_end")}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise FieldError(f"{name}: must be true or false (got {shown(value)}).", param=name)
    sequence = parameters.get("sequence_id", 0)
    is_number = isinstance(sequence, int) and not isinstance(sequence, bool) and 0 <= sequence <= _MOST_ID
    if not is_number and not (isinstance(sequence, str) and len(sequence) <= 256):
        raise FieldError(
            f"sequence_id: must be a whole number from 0 to 2^64 - 1, or text of at most 256 characters (got "
            f"{shown(sequence)}).",
            param="sequence_id",
        )
    session = parameters.get("session")
    if session is not None and not isinstance(session, str):
        raise FieldError(f"session: must be the id of a session (got {shown(session)}).", param="session")
    if session is not None and sequence:
        raise FieldError("session and sequence_id: a call goes on from one of them; leave one out.", param="session")
    return _Goal(sequence or None, flags["sequence_start"], flags["sequence_end"], session)


def _rows_from(
    inputs: Mapping[str, Array], signature: Signature, endpoint: Endpoint
) -> tuple[list[dict[str, Array]], int]:
    """The rows of a request, and the frames of its longest. Raises FieldError."""
    ports = {port.name: port for port in signature.inputs}
    given = [*ports, *((_LENGTHS,) if signature.has_lengths else ())]
    for name in inputs:
        if name not in given:
            raise FieldError(f"The model has no input {shown(name)}. Inputs: {', '.join(given)}.", param="inputs")
    for name in ports:
        if name not in inputs:
            raise FieldError(f"Input {name} is missing. Inputs: {', '.join(ports)}.", param="inputs")
    sizes: dict[str, int] = {}
    for port in signature.inputs:
        _check_shape(port, inputs[port.name], sizes)
        _check_values(port, inputs[port.name])
    batch, time = sizes["batch"], sizes.get("time", 1)
    if batch > MAX_ROWS:
        raise FieldError(f"The inputs have {batch} rows; a request has at most {MAX_ROWS}.", param="inputs")
    limit = endpoint.limit
    if time > limit.tokens:
        raise FieldError(
            f"The inputs have {time} frames; at most {limit.tokens} are allowed in a call ({limit.setting}).",
            param="inputs",
        )
    if time < signature.least_frames:
        raise FieldError(
            f"The inputs have {time} frames; the model takes at least {signature.least_frames}.", param="inputs"
        )
    lengths = [time] * batch
    if _LENGTHS in inputs:
        lengths = _lengths_from(inputs[_LENGTHS], batch, signature.least_frames, time)
    rows = [
        {name: inputs[name][i, : lengths[i]] if port.has_time else inputs[name][i] for name, port in ports.items()}
        for i in range(batch)
    ]
    return rows, time


def _check_shape(port: InputPort, values: Array, sizes: dict[str, int]) -> None:
    """Notes the sizes of batch and time. Raises FieldError."""
    wanted = DATATYPE_OF[np.dtype(port.dtype)]
    if values.dtype != np.dtype(port.dtype):
        raise FieldError(f"Input {port.name} has datatype {DATATYPE_OF[values.dtype]}; it is {wanted}.", param="inputs")
    axes: list[str | int] = ["batch", *(["time"] if port.has_time else []), *port.shape]
    described = f"[{', '.join(map(str, axes))}]"
    if values.ndim != len(axes):
        raise FieldError(f"Input {port.name} has shape {list(values.shape)}; it is {described}.", param="inputs")
    for axis, size in zip(axes, values.shape, strict=True):
        if isinstance(axis, int):
            if size != axis:
                raise FieldError(
                    f"Input {port.name} has shape {list(values.shape)}; it is {described}.", param="inputs"
                )
        elif size == 0:
            raise FieldError(f"Input {port.name} has no {'rows' if axis == 'batch' else 'frames'}.", param="inputs")
        elif sizes.setdefault(axis, size) != size:
            raise FieldError(
                f"Input {port.name} has shape {list(values.shape)}, and an input before it has {sizes[axis]} in "
                f"{axis}. They must agree.",
                param="inputs",
            )


def _check_values(port: InputPort, values: Array) -> None:
    is_wrong = port.wrong(values)
    if not is_wrong.any():
        return
    place = [int(index) for index in np.argwhere(is_wrong)[0]]
    if port.dtype != "float32":
        allowed = f"allowed are {port.low:.0f} to {port.high:.0f}"
    elif port.may_be_nan:
        allowed = "NaN is a missing number here, infinity is none"
    else:
        allowed = "numbers must be finite"
    raise FieldError(f"Input {port.name} holds {values[tuple(place)]} at {place}; {allowed}.", param="inputs")


def _lengths_from(values: NDArray[np.generic], batch: int, least: int, time: int) -> list[int]:
    if values.dtype.kind != "i" or values.shape != (batch,):
        raise FieldError(
            f"Input {_LENGTHS} has shape {list(values.shape)}; it is [{batch}], INT32 or INT64: each row's frames.",
            param="inputs",
        )
    lengths: list[int] = values.tolist()
    if min(lengths) < least or max(lengths) > time:
        raise FieldError(f"Input {_LENGTHS} holds {lengths}; allowed are {least} to {time}.", param="inputs")
    return lengths


def _joined(port: Port, rows: list[Array], time: int) -> Array:
    """Rows' answers as one array; past a row's end zeros."""
    if not port.has_time:
        return np.stack(rows)
    if port.has_own_steps:
        time = max(map(len, rows))
    if all(len(row) == time for row in rows):
        return np.stack(rows)
    found = np.zeros((len(rows), time, *port.shape), port.dtype)
    for target, row in zip(found, rows, strict=True):
        target[: len(row)] = row
    return found


TENSORS = TensorTask(
    inputs=lambda model: [_info(port) for port in _signature(model).inputs],
    outputs=lambda model: [_info(port) for port in _signature(model).outputs],
    answer=_answer,
)
