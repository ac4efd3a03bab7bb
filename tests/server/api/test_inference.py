"""/v2 as the Open Inference Protocol and docs/sequence.md say it, over a real socket, with a fake model of frames."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from server.api.inference.routes import EXTENSIONS
from server.api.inference.tensors import DATATYPE_OF, DATATYPES, HEADER_LENGTH
from tests.server.fake_frames import Row, cut, expected, fake_frames_model, random_row, runner_of
from tests.server.running import Running, fake_model, running, wait_until

INFER = "/v2/models/frames/infer"
SESSION_KEY = "sixteen letters!"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    models = (fake_frames_model(), fake_frames_model("whole", has_state=False), fake_model("text"))
    with running(*models, session_key=SESSION_KEY, max_frames=100) as instance:
        yield instance


@pytest.fixture
def own() -> Iterator[Running]:
    """A server to be held or broken."""
    with running(fake_frames_model(), lanes=1) as instance:
        yield instance


def tensor(name: str, values: np.ndarray[Any, Any], **fields: Any) -> dict[str, Any]:
    found = {"name": name, "shape": list(values.shape), "datatype": DATATYPE_OF[values.dtype]}
    return {**found, "data": values.ravel().tolist(), **fields}


def body_of(*rows: Row, **fields: Any) -> dict[str, Any]:
    """A request for rows of one length."""
    return {"inputs": [tensor(name, np.stack([row[name] for row in rows])) for name in rows[0]], **fields}


def outputs_of(answer: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {
        item["name"]: np.array(item["data"], DATATYPES[item["datatype"]]).reshape(item["shape"])
        for item in answer["outputs"]
    }


def read(server: Running, row: Row, **parameters: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of one row."""
    found = outputs_of(server.post(INFER, **body_of(row, parameters=parameters)))
    return {name: values[0] for name, values in found.items()}


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(np.array_equal(found[name], wanted[name]) for name in wanted)


def error(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    sentence: str = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    return sentence


def refused(server: Running, body: Any, status: int = 400, path: str = INFER) -> str:
    return error(server.client.post(path, json=body), status)


def test_the_server_and_its_models_are_described(server: Running) -> None:
    assert server.client.get("/v2").json()["extensions"] == EXTENSIONS
    assert server.client.get("/v2/health/live").json() == {"live": True}
    assert server.client.get("/v2/health/ready").json() == {"ready": True}
    described = {
        "name": "frames",
        "versions": ["1"],
        "platform": "fake",
        "inputs": [
            {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
            {"name": "values", "datatype": "FP32", "shape": [-1, -1, 2]},
        ],
        "outputs": [
            {"name": "mixed", "datatype": "FP32", "shape": [-1, -1, 3]},
            {"name": "last", "datatype": "INT64", "shape": [-1]},
        ],
    }
    for path in ("/v2/models/frames", "/v2/models/frames/versions/1"):
        assert server.client.get(path).json() == described
        assert server.client.get(f"{path}/ready").json() == {"name": "frames", "ready": True}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/v2/models/nothing", "Model 'nothing' not found. Models that take tensors: frames/1, text/1, whole/1."),
        ("/v2/models/frames/versions/2/ready", "Model 'frames/2' not found."),
        ("/v2/nothing", "Path '/v2/nothing' not found."),
    ],
)
def test_what_is_not_there_is_404_with_a_sentence(server: Running, path: str, sentence: str) -> None:
    assert error(server.client.get(path), 404).startswith(sentence)


@pytest.mark.parametrize("path", [INFER, "/v2/models/frames/versions/1/infer", "/v2/models/whole/infer"])
def test_rows_are_answered_frame_by_frame(server: Running, path: str) -> None:
    generator = np.random.default_rng(0)
    for length in (1, 2, 31, 32, 33, 100):
        rows = [random_row(generator, length) for _ in range(3)]
        answer = server.post(path, id="mine", **body_of(*rows))
        assert (answer["model_version"], answer["id"]) == ("1", "mine")
        found = outputs_of(answer)
        for index, row in enumerate(rows):
            assert same({name: values[index] for name, values in found.items()}, expected(row)[0])


def test_ragged_rows_are_given_with_their_lengths(server: Running) -> None:
    generator = np.random.default_rng(1)
    rows = [random_row(generator, 40) for _ in range(4)]
    lengths = np.array([40, 1, 17, 33])
    body = body_of(*rows)
    body["inputs"].append(tensor("lengths", lengths))
    found = outputs_of(server.post(INFER, **body))
    for index, row in enumerate(rows):
        wanted, _ = expected(cut(row, 0, lengths[index]))
        assert np.array_equal(found["mixed"][index, : lengths[index]], wanted["mixed"])
        assert not found["mixed"][index, lengths[index] :].any()
        assert found["last"][index] == wanted["last"]


def test_outputs_may_have_steps_of_their_own() -> None:
    generator = np.random.default_rng(27)
    rows = [random_row(generator, 20) for _ in range(3)]
    lengths = np.array([20, 3, 12])
    with running(fake_frames_model(has_state=False, stride=2)) as server:
        body = body_of(*rows)
        body["inputs"].append(tensor("lengths", lengths))
        found = outputs_of(server.post(INFER, **body))
        assert found["mixed"].shape == (3, 10, 3)
        for index, length in enumerate(lengths.tolist()):
            wanted = expected(cut(rows[index], 0, length))[0]["mixed"][::2]
            assert np.array_equal(found["mixed"][index, : len(wanted)], wanted)
            assert not found["mixed"][index, len(wanted) :].any()
        body["inputs"][-1] = tensor("lengths", np.array([20, 2, 12]))
        assert refused(server, body) == "Input lengths holds [20, 2, 12]; allowed are 3 to 20."
        short = body_of(random_row(generator, 2))
        assert refused(server, short) == "The inputs have 2 frames; the model takes at least 3."


def test_data_may_be_nested_as_its_shape(server: Running) -> None:
    row = random_row(np.random.default_rng(2), 5)
    body = body_of(row)
    for item in body["inputs"]:
        item["data"] = np.array(item["data"]).reshape(item["shape"]).tolist()
    assert server.post(INFER, **body)["outputs"] == server.post(INFER, **body_of(row))["outputs"]


def test_only_the_outputs_that_are_wanted_are_sent(server: Running) -> None:
    body = body_of(random_row(np.random.default_rng(3), 5), outputs=[{"name": "last"}])
    assert [item["name"] for item in server.post(INFER, **body)["outputs"]] == ["last"]
    body["outputs"] = [{"name": "first"}]
    assert refused(server, body) == "The model has no output 'first'. Outputs: mixed, last."


def binary(row: Row, parameters: dict[str, Any] | None = None) -> tuple[bytes, dict[str, str]]:
    """A request whose tensors are raw bytes, and its headers."""
    inputs, pieces = [], []
    for name, values in row.items():
        pieces.append(values[None].tobytes())
        inputs.append(
            {
                "name": name,
                "shape": [1, *values.shape],
                "datatype": DATATYPE_OF[values.dtype],
                "parameters": {"binary_data_size": len(pieces[-1])},
            }
        )
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True, **(parameters or {})}}).encode()
    return head + b"".join(pieces), {HEADER_LENGTH: str(len(head))}


def read_binary(server: Running, row: Row) -> dict[str, np.ndarray[Any, Any]]:
    content, headers = binary(row)
    answer = server.client.post(INFER, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers[HEADER_LENGTH])
    found, start = {}, length
    for item in json.loads(answer.content[:length])["outputs"]:
        stop = start + item["parameters"]["binary_data_size"]
        values = np.frombuffer(answer.content[start:stop], DATATYPES[item["datatype"]])
        found[item["name"]] = values.reshape(item["shape"])[0]
        start = stop
    assert start == len(answer.content)
    return found


def test_raw_bytes_give_what_json_gives(server: Running) -> None:
    row = random_row(np.random.default_rng(4), 45)
    assert same(read_binary(server, row), expected(row)[0])
    assert same(read(server, row), expected(row)[0])


def test_a_missing_number_is_nan_in_bytes_and_null_in_json_where_the_model_takes_it(server: Running) -> None:
    row = random_row(np.random.default_rng(5), 6)
    row["values"][2, 1] = np.nan
    wanted, _ = expected(row)
    assert same(read_binary(server, row), wanted)
    body = body_of(row)
    body["inputs"][1]["data"] = [None if value != value else value for value in body["inputs"][1]["data"]]
    assert same({name: values[0] for name, values in outputs_of(server.post(INFER, **body)).items()}, wanted)
    row["values"][3, 0] = np.inf
    content, headers = binary(row)
    answer = server.client.post(INFER, content=content, headers=headers)
    assert error(answer) == "Input values holds inf at [0, 3, 0]; NaN is a missing number here, infinity is none."


def test_a_sequence_goes_on_from_call_to_call_and_ends(server: Running) -> None:
    row = random_row(np.random.default_rng(6), 90)
    wanted, _ = expected(row)
    pieces = []
    for start, stop in ((0, 1), (1, 40), (40, 41), (41, 90)):
        found = read(server, cut(row, start, stop), sequence_id=5, sequence_start=start == 0, sequence_end=stop == 90)
        pieces.append(found["mixed"])
    assert np.array_equal(np.concatenate(pieces), wanted["mixed"])
    sentence = refused(server, body_of(row, parameters={"sequence_id": 5}))
    assert sentence == "Sequence 'frames/1 5' not found. Begin it with sequence_start."


def test_sequences_cross_neither_each_other_nor_other_models(server: Running) -> None:
    generator = np.random.default_rng(7)
    ids: list[Any] = [1, "1", 2, "two", "zwei 二", 2**64 - 1]
    rows = {name: random_row(generator, 30) for name in ids}
    for start in range(0, 30, 3):
        for name, row in rows.items():
            found = read(server, cut(row, start, start + 3), sequence_id=name, sequence_start=not start)
            assert np.array_equal(found["mixed"], expected(row)[0]["mixed"][start : start + 3])


def test_a_sequence_may_be_begun_anew_in_its_middle(server: Running) -> None:
    generator = np.random.default_rng(8)
    read(server, random_row(generator, 7), sequence_id="again", sequence_start=True)
    row = random_row(generator, 9)
    assert same(read(server, row, sequence_id="again", sequence_start=True), expected(row)[0])


@pytest.mark.parametrize("name", [0, ""])
def test_id_0_and_empty_text_are_no_sequence(server: Running, name: Any) -> None:
    row = random_row(np.random.default_rng(9), 4)
    num_kept = len(server.service.sequences.all())
    for _ in range(2):
        assert same(read(server, row, sequence_id=name), expected(row)[0])
    assert len(server.service.sequences.all()) == num_kept


def test_calls_of_one_sequence_take_turns_in_their_order(own: Running) -> None:
    row = random_row(np.random.default_rng(10), 60)
    runner = runner_of(own.models["frames/1"])
    read(own, cut(row, 0, 1), sequence_id=1, sequence_start=True)
    runner.gate = threading.Event()
    with ThreadPoolExecutor(20) as pool:
        answers = []
        for i in range(1, 20):
            answers.append(pool.submit(read, own, cut(row, 3 * i - 2, 3 * i + 1), sequence_id=1))
            own.until(lambda i=i: own.service.num_requests == i)  # type: ignore[misc]
        runner.gate.set()
        found = np.concatenate([answer.result()["mixed"] for answer in answers])
    assert np.array_equal(found, expected(row)[0]["mixed"][1:58])


def test_a_call_that_fails_leaves_the_sequence_as_it_was(own: Running) -> None:
    runner = runner_of(own.models["frames/1"])
    row = random_row(np.random.default_rng(11), 20)
    row["ids"][:] = 1
    read(own, cut(row, 0, 10), sequence_id=1, sequence_start=True)
    runner.fails_at = 2
    broken = {**cut(row, 10, 20), "ids": np.full(10, 2)}
    for parameters in ({}, {"sequence_start": True}, {"sequence_end": True}):
        answer = own.client.post(INFER, json=body_of(broken, parameters={"sequence_id": 1, **parameters}))
        assert "The model failed while it ran" in error(answer, 500)
        answer = own.client.post(INFER, json=body_of(broken, parameters={"sequence_id": 2, "sequence_start": True}))
        assert answer.status_code == 500
    assert len(own.service.sequences.all()) == 1  # the second was never begun
    found = read(own, cut(row, 10, 20), sequence_id=1)
    assert np.array_equal(found["mixed"], expected(row)[0]["mixed"][10:])


def test_a_state_that_is_not_finite_is_refused_and_not_kept(server: Running) -> None:
    row = random_row(np.random.default_rng(12), 10)
    read(server, cut(row, 0, 5), sequence_id="spoilt", sequence_start=True)
    spoilt = cut(row, 5, 10)
    spoilt = {**spoilt, "values": np.full((5, 2), 7.5, np.float32)}
    assert refused(server, body_of(spoilt, parameters={"sequence_id": "spoilt"})).startswith("After these frames")
    found = read(server, cut(row, 5, 10), sequence_id="spoilt")
    assert np.array_equal(found["mixed"], expected(row)[0]["mixed"][5:])
    (mixed,) = [item for item in server.post(INFER, **body_of(spoilt))["outputs"] if item["name"] == "mixed"]
    assert set(mixed["data"]) == {None}  # without a sequence nothing goes on from it


def test_a_cancelled_call_leaves_the_sequence_as_it_was(own: Running) -> None:
    runner = runner_of(own.models["frames/1"])
    row = random_row(np.random.default_rng(13), 80)
    read(own, cut(row, 0, 10), sequence_id=1, sequence_start=True)
    runner.gate = threading.Event()
    headers = {"x-request-timeout-ms": "50"}
    body = body_of(cut(row, 10, 80), parameters={"sequence_id": 1})
    assert "was not done after 50 ms" in error(own.client.post(INFER, json=body, headers=headers), 504)
    body["parameters"]["timeout"] = 40_000  # microseconds
    assert "was not done after 40 ms" in error(own.client.post(INFER, json=body), 504)
    own.ask_and_leave(INFER, body_of(cut(row, 10, 80), parameters={"sequence_id": 1}))
    runner.gate.set()
    found = read(own, cut(row, 10, 80), sequence_id=1)
    assert np.array_equal(found["mixed"], expected(row)[0]["mixed"][10:])


def test_a_sequence_that_never_ends_expires() -> None:
    row = random_row(np.random.default_rng(14), 4)
    with running(fake_frames_model(), sequence_idle_seconds=1) as server:
        read(server, row, sequence_id=3, sequence_start=True)
        assert len(server.service.sequences.all()) == 1
        wait_until(lambda: not server.service.sequences.all())
        sentence = refused(server, body_of(row, parameters={"sequence_id": 3}))
        assert sentence == ("Sequence 'frames/1 3' has expired: it was not used for 1 s. Begin it with sequence_start.")
        assert same(read(server, row, sequence_id=3, sequence_start=True), expected(row)[0])
        metrics = server.client.get("/metrics").text
    assert 'rnnserve_sequence_evictions_total{reason="expired"} 1.0' in metrics
    assert "rnnserve_sequences 1.0" in metrics


def test_over_the_number_of_sequences_the_one_unused_longest_goes() -> None:
    row = random_row(np.random.default_rng(15), 4)
    with running(fake_frames_model(), max_sequences=3) as server:
        for name in range(1, 5):
            read(server, row, sequence_id=name, sequence_start=True)
        sentence = refused(server, body_of(row, parameters={"sequence_id": 1}))
        assert "was dropped to make room for others (RNNSERVE_MAX_SEQUENCES)" in sentence
        read(server, row, sequence_id=2)


def test_who_has_another_key_has_other_sequences() -> None:
    keys = ("a key of sixteen", "another of sixteen")
    rows = [random_row(np.random.default_rng(seed), 8) for seed in (16, 17)]
    with running(fake_frames_model(), api_keys=keys) as server:
        assert error(server.client.post(INFER, json=body_of(rows[0])), 401).startswith("This server asks for an API")
        assert server.client.get("/v2/health/ready").status_code == 200
        for start in (0, 4):
            for key, row in zip(keys, rows, strict=True):
                body = body_of(cut(row, start, start + 4), parameters={"sequence_id": 1, "sequence_start": not start})
                answer = server.client.post(INFER, json=body, headers={"authorization": f"Bearer {key}"})
                found = outputs_of(answer.json())
                assert np.array_equal(found["mixed"][0], expected(row)[0]["mixed"][start : start + 4])


def changed(**fields: Any) -> Callable[[dict[str, Any]], None]:
    """Changes fields of the second input."""
    return lambda body: body["inputs"][1].update(fields)


def given(**parameters: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body.update(parameters=parameters)


WRONG: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (changed(shape=[1, 5, 3]), "Input 'values': data has 10 numbers, and shape [1, 5, 3] has 15."),
    (changed(shape=[10]), "Input values has shape [10]; it is [batch, time, 2]."),
    (changed(shape=[1, 10, 1]), "Input values has shape [1, 10, 1], and an input before it has 5 in time."),
    (changed(shape=[1, 5, 1], data=[1] * 5), "Input values has shape [1, 5, 1]; it is [batch, time, 2]."),
    (changed(shape=[5, 1, 2]), "Input values has shape [5, 1, 2], and an input before it has 1 in batch."),
    (changed(shape=[1, 0, 2], data=[]), "Input values has no frames."),
    (changed(shape=[0, 5, 2], data=[]), "Input values has no rows."),
    (changed(shape=[1, -5, 2]), "inputs: Input should be greater than or equal to 0 (got -5)."),
    (changed(shape=[1] * 17), "inputs: List should have at most 16 items"),
    (changed(shape=[1, 1 << 40, 2]), "inputs: Input should be less than or equal to 2147483648"),
    (
        changed(shape=[0, 1 << 31, 1 << 31], data=[]),
        "Input 'values': shape [0, 2147483648, 2147483648] has too many numbers",
    ),
    (changed(data=[True] + [0.5] * 9), "Input 'values': data holds true or false, and its datatype is FP32."),
    (changed(shape="wide"), "inputs: Input should be a valid list (got 'wide')."),
    (changed(datatype="FP64"), "Input 'values' has datatype 'FP64'; known are BOOL, INT32, INT64, FP32, BYTES."),
    (changed(datatype="INT64"), "Input 'values': data holds numbers with a fraction"),
    (changed(datatype="BOOL"), "Input 'values': data holds numbers with a fraction"),
    (changed(datatype="INT32", data=[1] * 10), "Input values has datatype INT32; it is FP32."),
    (changed(datatype="INT32", data=[1 << 40] * 10), "Input 'values': a number is too large for INT32."),
    (changed(data=[1e308] * 10), "Input 'values': a number is too large for FP32."),
    (changed(data=[10**39] * 10), "Input 'values': a number is too large for FP32."),
    (changed(data=[10**400] + [0] * 9), "The body is not valid JSON"),
    (changed(data=["a"] * 10), "Input 'values': data holds text, and its datatype is FP32."),
    (changed(data=[{}] * 10), "Input 'values': data is ragged, or holds what is no number."),
    (changed(data=[[1, 2], [3]]), "Input 'values': data is ragged, or holds what is no number."),
    (changed(data=[[1] * 5] * 2), "Input 'values': data is nested as [2, 5], and its shape is [1, 5, 2]."),
    (changed(data=None), "Input 'values' has no data: send it in JSON"),
    (changed(name="other"), "The model has no input 'other'. Inputs: ids, values, lengths."),
    (changed(name="ids"), "Input 'ids' is given twice."),
    (changed(speed=1), "inputs: unknown field 'speed' in entry 1."),
    (lambda body: body["inputs"][0].pop("shape"), "inputs: shape is required in entry 0."),
    (changed(parameters={"binary_data_size": 40}), "Input 'values' has both data and binary_data_size"),
    (lambda body: body["inputs"].pop(), "Input values is missing. Inputs: ids, values."),
    (lambda body: body["inputs"].clear(), "inputs: List should have at least 1 item"),
    (lambda body: body.pop("inputs"), "inputs is required."),
    (lambda body: body["inputs"][0]["data"].__setitem__(0, 100), "Input ids holds 100 at [0, 0]; allowed are 0 to 99."),
    (lambda body: body["inputs"][0]["data"].__setitem__(4, -1), "Input ids holds -1 at [0, 4]; allowed are 0 to 99."),
    (
        lambda body: body["inputs"].append(tensor("lengths", np.array([6]))),
        "Input lengths holds [6]; allowed are 1 to 5.",
    ),
    (
        lambda body: body["inputs"].append(tensor("lengths", np.array([5, 5]))),
        "Input lengths has shape [2]; it is [1], INT32 or INT64",
    ),
    (given(sequence_id=77), "Sequence 'frames/1 77' not found. Begin it with sequence_start."),
    (given(sequence_id=-1), "sequence_id: must be a whole number from 0 to 2^64 - 1, or text"),
    (given(sequence_id=1.5), "sequence_id: must be a whole number"),
    (given(sequence_id=True), "sequence_id: must be a whole number"),
    (given(sequence_id="a" * 257), "sequence_id: must be a whole number"),
    (given(sequence_id=1, sequence_start=1), "sequence_start: must be true or false (got 1)."),
    (given(sequence_id=1, session="session-1"), "session and sequence_id: a call goes on from one of them"),
    (given(timeout=-1), "timeout: must be a whole number of microseconds above 0 (got -1)."),
    (given(speed=1), "Unknown parameter 'speed'. Parameters: sequence_id,"),
    (given(binary_data_output=1), "binary_data_output: must be true or false (got 1)."),
    (lambda body: body.update(parameters=[1]), "parameters: Input should be a valid dictionary"),
    (lambda body: body.update(id=7), "id: Input should be a valid string (got 7)."),
    (
        lambda body: body.update(outputs=[{"name": "last", "parameters": {"classification": 2}}]),
        "Output 'last': the classification extension is not offered",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_what_is_wrong_is_400_with_a_sentence(
    server: Running, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    row = random_row(np.random.default_rng(18), 5)
    row["values"] += 0.5
    body = body_of(row)
    change(body)
    found = error(server.client.post(INFER, content=json.dumps(body)))
    assert found.startswith(sentence)
    assert len(found) < 400


def test_a_sequence_has_one_row_and_a_model_without_a_state_has_none(server: Running) -> None:
    rows = [random_row(np.random.default_rng(19), 3)] * 2
    body = body_of(*rows, parameters={"sequence_id": 1, "sequence_start": True})
    assert refused(server, body).startswith("A sequence has one row a call, and the inputs have 2.")
    body = body_of(rows[0], parameters={"sequence_id": 1, "sequence_start": True})
    assert refused(server, body, path="/v2/models/whole/infer").startswith("Model whole/1 keeps no state")
    long = random_row(np.random.default_rng(20), 101)
    assert "at most 100 are allowed in a call (RNNSERVE_MAX_FRAMES)" in refused(server, body_of(long))
    many = body_of(*[random_row(np.random.default_rng(21), 1)] * 257)
    assert refused(server, many) == "The inputs have 257 rows; a request has at most 256."


@pytest.mark.parametrize(
    ("body", "headers", "sentence"),
    [
        (b"{}", {HEADER_LENGTH: "3"}, "inference-header-content-length: must be the number of bytes of the JSON"),
        (b"{}", {HEADER_LENGTH: "-1"}, "inference-header-content-length: must be"),
        (b"{}", {HEADER_LENGTH: "9" * 30}, "inference-header-content-length: must be"),
        (b"{}", {HEADER_LENGTH: "0" * 5000}, "inference-header-content-length: must be"),
        (b"", {}, "The body is not valid JSON in UTF-8: the body is empty."),
        (b"[]", {}, "The body must be a JSON object"),
        (b"NaN", {}, "The body is not valid JSON"),
        (b"[" * 100_000, {}, "The body is not valid JSON"),
    ],
)
def test_bodies_that_are_no_request_are_400(
    server: Running, body: bytes, headers: dict[str, str], sentence: str
) -> None:
    assert error(server.client.post(INFER, content=body, headers=headers)).startswith(sentence)


def test_raw_bytes_that_do_not_add_up_are_400(server: Running) -> None:
    content, headers = binary(random_row(np.random.default_rng(22), 5))
    assert "only 39 are left after the JSON object" in error(
        server.client.post(INFER, content=content[:-1], headers=headers)
    )
    assert "81 bytes follow the JSON object" in error(
        server.client.post(INFER, content=content + b"x", headers=headers)
    )
    head = int(headers[HEADER_LENGTH])
    wrong = content[:head].replace(b'"binary_data_size": 40}', b'"binary_data_size": 99}', 1)
    assert "shape [1, 5] of INT64 has 40 bytes" in error(
        server.client.post(INFER, content=wrong + content[head:], headers=headers)
    )
    assert error(server.client.post(INFER, content=content)).startswith("The body is not valid JSON")


def test_a_body_over_the_limit_is_413(server: Running) -> None:
    assert "RNNSERVE_MAX_BODY_BYTES" in error(server.client.post(INFER, content=b" " * ((1 << 20) + 1)), 413)


def test_a_large_body_is_read(server: Running) -> None:
    rows = [random_row(np.random.default_rng(23), 100) for _ in range(200)]
    found = outputs_of(server.post(INFER, **body_of(*rows)))
    assert np.array_equal(found["mixed"][137], expected(rows[137])[0]["mixed"])


def test_rows_of_many_requests_are_read_together(own: Running) -> None:
    runner = runner_of(own.models["frames/1"])
    rows = [random_row(np.random.default_rng(seed), 1 + seed % 40) for seed in range(32)]
    runner.gate = threading.Event()
    with ThreadPoolExecutor(32) as pool:
        answers = [pool.submit(read, own, row) for row in rows]
        own.until(lambda: own.service.num_requests == 32)
        time.sleep(0.1)  # until the lane has them
        runner.gate.set()
        found = [answer.result() for answer in answers]
    assert all(same(answer, expected(row)[0]) for answer, row in zip(found, rows, strict=True))
    assert max(batch for _, batch, _ in runner.calls) > 8


# Sessions.


def session_of(server: Running, **fields: Any) -> str:
    session_id: str = server.post("/v1/sessions", model="frames", **fields)["id"]
    return session_id


def test_a_session_appends_frames_is_forked_rewound_and_moved(server: Running) -> None:
    row = random_row(np.random.default_rng(24), 100)
    wanted = expected(row)[0]["mixed"]
    session = session_of(server)
    for start, stop in ((0, 7), (7, 50), (50, 51)):
        assert np.array_equal(read(server, cut(row, start, stop), session=session)["mixed"], wanted[start:stop])
    assert server.client.get(f"/v1/sessions/{session}").json()["tokens"] == 51
    fork = server.post(f"/v1/sessions/{session}/fork")["id"]
    for to in (50, 30, 30, 7, 0):  # the end of a call; between; there already
        assert server.post(f"/v1/sessions/{fork}/rewind", to=to)["tokens"] == to
        again = server.post(f"/v1/sessions/{fork}/fork")["id"]
        assert np.array_equal(read(server, cut(row, to, to + 20), session=again)["mixed"], wanted[to : to + 20])
    state = server.client.get(f"/v1/sessions/{session}/state").content
    with running(fake_frames_model(), session_key=SESSION_KEY) as other:
        answer = other.client.put(f"/v1/sessions/{session}/state", content=state)
        assert answer.status_code == 200, answer.text
        assert answer.json()["tokens"] == 51
        assert np.array_equal(read(other, cut(row, 51, 100), session=session)["mixed"], wanted[51:])
        assert other.post(f"/v1/sessions/{session}/rewind", to=60)["tokens"] == 60
        assert np.array_equal(read(other, cut(row, 60, 100), session=session)["mixed"], wanted[60:])
    assert np.array_equal(read(server, cut(row, 51, 100), session=session)["mixed"], wanted[51:])


def test_what_a_session_cannot_do_is_said(server: Running) -> None:
    row = random_row(np.random.default_rng(25), 5)
    sentence = refused(server, body_of(row, parameters={"session": "session-1"}), 404)
    assert sentence.startswith("Session 'session-1' not found.")
    text = server.post("/v1/sessions", model="text")["id"]
    assert refused(server, body_of(row, parameters={"session": text})) == (
        "session: it belongs to text/1, not frames/1."
    )
    answer = server.client.post("/v1/sessions", json={"model": "whole"})
    assert answer.status_code == 422
    session = session_of(server)
    read(server, row, session=session)
    answer = server.client.post(f"/v1/sessions/{session}/rewind", json={"to": 6})
    assert answer.json()["error"]["message"] == "to: the session has 5 frames, fewer than 6."
    answer = server.client.post("/v1/generate", json={"session": session, "prompt": "a"})
    assert answer.status_code == 422, answer.text


def test_a_session_has_a_longest_length_and_one_call_at_a_time(own: Running) -> None:
    with running(fake_frames_model(), max_session_tokens=8) as server:
        session = session_of(server)
        row = random_row(np.random.default_rng(26), 5)
        read(server, row, session=session)
        assert refused(server, body_of(row, parameters={"session": session})) == (
            "session: with these frames it would have 10 frames; at most 8 are allowed (RNNSERVE_MAX_SESSION_TOKENS). "
            "Ask for fewer frames, rewind it, or begin a new one."
        )
    runner = runner_of(own.models["frames/1"])
    session = session_of(own)
    runner.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(read, own, row, session=session)
        own.until(lambda: own.service.num_requests == 1)
        assert "is being used by another request" in refused(own, body_of(row, parameters={"session": session}), 409)
        runner.gate.set()
        assert same(first.result(), expected(row)[0])
