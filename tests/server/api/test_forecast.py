"""POST /v1/forecast as docs/forecasting.md says it, over a real socket, with a fake forecaster."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.server.fake_forecaster import RAIN, FakeForecastSet, fake_forecast, fake_forecaster
from tests.server.running import Running, fake_model, running

PATH = "/v1/forecast"
DAY = 19_723 * 24  # hours from 1970 to 2024-01-01


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    models = (
        fake_forecaster(),
        fake_forecaster("undated", periods=[]),
        fake_forecaster("rainy", covariates=RAIN),
        fake_forecaster("months", frequency="P1M", periods=[]),
        fake_model("text"),
    )
    with running(*models, session_key="sixteen letters!", max_frames=50, default_forecast="hours") as instance:
        yield instance


def series(*values: Any, **fields: Any) -> dict[str, Any]:
    return {"start": "2024-01-01", "values": list(values), **fields}


def refused(server: Running, status: int = 422, **body: Any) -> str:
    answer = server.client.post(PATH, json=body)
    assert answer.status_code == status, answer.text
    message: str = answer.json()["error"]["message"]
    return message


def test_several_series_are_answered_in_their_order(server: Running) -> None:
    answer = server.post(PATH, series=[series(5, id="a"), series(1, None, 3), series(2, 4, start="2024-01-01T05:00Z")])
    assert answer["model"] == "hours/1"
    assert answer["usage"] == {"observations": 6}
    first, second, third = answer["forecasts"]
    assert first["id"] == "a"
    assert "id" not in second
    assert first["mean"] == fake_forecast([5], DAY)
    assert second["mean"] == fake_forecast([1, None, 3], DAY)
    assert third["mean"] == fake_forecast([2, 4], DAY + 5)
    assert first["timestamps"] == [f"2024-01-01T0{hour}:00:00" for hour in range(1, 5)]
    assert third["timestamps"][0] == "2024-01-01T07:00:00Z"
    assert list(first["quantiles"]) == [f"0.{i}" for i in range(1, 10)]
    assert first["quantiles"]["0.9"] == [number + 8 for number in first["mean"]]


def test_horizon_and_quantiles_choose(server: Running) -> None:
    (found,) = server.post(PATH, series=[series(5)], horizon=2, quantiles=[0.5, 0.1])["forecasts"]
    assert len(found["mean"]) == len(found["timestamps"]) == len(found["quantiles"]["0.1"]) == 2
    assert list(found["quantiles"]) == ["0.5", "0.1"]


def test_a_model_without_a_calendar_needs_no_start(server: Running) -> None:
    (found,) = server.post(PATH, model="undated", series=[{"values": [1, 2]}])["forecasts"]
    assert "timestamps" not in found
    assert found["mean"] == fake_forecast([1, 2], 0)


def test_months_are_those_of_the_calendar(server: Running) -> None:
    body = series(1, 2, start="2024-01-31", frequency="P1M")
    (found,) = server.post(PATH, model="months", series=[body])["forecasts"]
    assert found["timestamps"] == ["2024-03-31", "2024-04-30", "2024-05-31", "2024-06-30"]


def test_months_of_a_session_are_counted_from_its_first(server: Running) -> None:
    session = server.post("/v1/sessions", model="months")["id"]
    server.post(PATH, model="months", session=session, series=[series(1, 2, start="2024-01-31")])
    (found,) = server.post(PATH, model="months", session=session, series=[series(3, start="2024-03-31")])["forecasts"]
    assert found["timestamps"][:2] == ["2024-04-30", "2024-05-31"]


def test_covariates_are_read_by_name(server: Running) -> None:
    body = series(1, 2, covariates={"rain": [0, 1.5]})
    assert server.post(PATH, model="rainy", series=[body])["forecasts"][0]["mean"] == fake_forecast([1, 2], DAY)


def test_a_session_goes_on_forks_and_rewinds(server: Running) -> None:
    session = server.post("/v1/sessions", model="hours")["id"]
    values: list[float | None] = [5, 7, None, 8, 1, 2]
    server.post(PATH, session=session, series=[series(*values[:3])])
    fork = server.post(f"/v1/sessions/{session}/fork")["id"]
    for index in range(3, 6):
        (found,) = server.post(PATH, session=session, series=[{"values": [values[index]]}])["forecasts"]
        assert found["mean"] == fake_forecast(values[: index + 1], DAY)
        assert found["timestamps"][0] == f"2024-01-01T0{index + 1}:00:00"
    assert server.client.get(f"/v1/sessions/{session}").json()["tokens"] == 6
    other = series(9, start="2024-01-01T03:00")
    (found,) = server.post(PATH, session=fork, series=[other])["forecasts"]
    assert found["mean"] == fake_forecast([5, 7, None, 9], DAY)
    server.post(f"/v1/sessions/{session}/rewind", to=4)
    (found,) = server.post(PATH, session=session, series=[{"values": [3]}])["forecasts"]
    assert found["mean"] == fake_forecast([5, 7, None, 8, 3], DAY)


def test_a_session_is_as_it_was_after_a_refusal(server: Running) -> None:
    session = server.post("/v1/sessions", model="hours")["id"]
    server.post(PATH, session=session, series=[series(5)])
    message = refused(server, session=session, series=[series(6)])
    assert "it begins at 2024-01-01, and the session's next step is 2024-01-01T01:00:00" in message
    assert "a session has one series, and 2 are given" in refused(
        server, session=session, series=[series(1), series(2)]
    )
    assert "finite" in refused(server, session=session, series=[{"values": [1e30]}])
    (found,) = server.post(PATH, session=session, series=[{"values": [6]}])["forecasts"]
    assert found["mean"] == fake_forecast([5, 6], DAY)


def test_a_new_session_needs_a_start_and_one_of_another_model_is_refused(server: Running) -> None:
    session = server.post("/v1/sessions", model="undated")["id"]
    first = {"session": session, "model": "undated", "series": [{"values": [1]}]}
    assert "start is missing; the first values of a session need it" in refused(server, **first)
    assert "it belongs to undated/1, not hours/1" in refused(server, session=session, series=[series(1)])
    assert "not found" in refused(server, 404, session="session-none", series=[series(1)])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"series": []}, "series: 0 entries; 1 to 256 are allowed"),
    "empty": ({"series": [series()]}, "series 0: values is empty"),
    "nulls": ({"series": [series(1), series(None, None)]}, "series 1: all values are null"),
    "many": (
        {"series": [series(*range(51))]},
        r"has 51 values; at most 50 are allowed in a request \(RNNSERVE_MAX_FRAMES\)",
    ),
    "text": ({"series": [series(1, "2")]}, r"series 0: values\[1\] is '2'; allowed are numbers, and null"),
    "bool": ({"series": [series(True)]}, r"values\[0\] is true"),
    "list": ({"series": [series([1])]}, r"values\[0\] is \[1\]"),
    "huge": ({"series": [series(1, 1e308)]}, r"values\[1\] is 1e\+308; allowed are numbers from -1e\+30 to 1e\+30"),
    "not finite": ({"series": [series(1e30)]}, "numbers that are not finite"),
    "no start": ({"series": [{"values": [1]}]}, "start is missing; the model reads the calendar"),
    "start": ({"series": [series(1, start="soon")]}, "start: 'soon' is not an ISO 8601 timestamp"),
    "last": ({"series": [series(1, start="9999-12-31T23:00")]}, "not in the years 1 to 9999"),
    "late": ({"series": [series(1, start="9999-12-31T21:00")]}, "not in the years 1 to 9999"),
    "frequency": ({"series": [series(1, frequency="P1D")]}, "frequency P1D is not the model's, PT1H"),
    "duration": ({"series": [series(1, frequency="hourly")]}, "'hourly' is not an ISO 8601 duration"),
    "both": ({"series": [series(1, timestamps=["2024-01-01"])]}, "give start or timestamps, not both"),
    "fewer": (
        {"series": [{"values": [1, 2], "timestamps": ["2024-01-01"]}]},
        "has 1 timestamps and 2 values; give as many",
    ),
    "unsorted": (
        {"series": [{"values": [1, 2], "timestamps": ["2024-01-01T01:00", "2024-01-01T00:00"]}]},
        r"timestamps\[1\], '2024-01-01T00:00', is not later than '2024-01-01T01:00' by PT1H; 2024-01-01T02:00:00 is ",
    ),
    "twice": (
        {"series": [{"values": [1, 2], "timestamps": ["2024-01-01", "2024-01-01"]}]},
        r"timestamps\[1\], '2024-01-01', is not later than '2024-01-01'",
    ),
    "gap": (
        {"series": [{"values": [1, 2], "timestamps": ["2024-01-01T01:00", "2024-01-01T05:00"]}]},
        r"timestamps\[1\], '2024-01-01T05:00', does not follow",
    ),
    "a number as timestamp": ({"series": [{"values": [1], "timestamps": [5]}]}, r"timestamps\[0\] is 5"),
    "horizon": ({"series": [series(1)], "horizon": 5}, "horizon: 5 steps; hours/1 forecasts 1 to 4"),
    "no horizon": ({"series": [series(1)], "horizon": 0}, "horizon"),
    "quantile": ({"series": [series(1)], "quantiles": [0.95]}, "0.95 is none of 0.1, 0.2"),
    "quantile twice": ({"series": [series(1)], "quantiles": [0.5, 0.5]}, "name each once"),
    "covariates": ({"series": [series(1, covariates={"rain": [1]})]}, "the model has no covariates"),
    "no covariates": ({"model": "rainy", "series": [series(1)]}, "the model has"),
    "null covariate": (
        {"model": "rainy", "series": [series(1, covariates={"rain": [None]})]},
        r"covariates 'rain'\[0\] is null",
    ),
    "long covariate": (
        {"model": "rainy", "series": [series(1, covariates={"rain": [1, 2]})]},
        "has 2 numbers, and there are 1 values",
    ),
    "257": ({"series": [series(1)] * 257}, "series: 257 entries; 1 to 256 are allowed"),
    "fields": ({"series": [{str(i): i for i in range(17)}]}, "entry 0 has 17 fields; at most 16 are looked at"),
    "no object": ({"series": [5]}, "series"),
    "unknown field": ({"series": [series(1, color="red")]}, "color"),
    "text model": ({"model": "text", "series": [series(1)]}, "is for generation, not forecast"),
}


@pytest.mark.parametrize(("body", "sentence"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_a_sentence(server: Running, body: dict[str, Any], sentence: str) -> None:
    assert re.search(sentence, refused(server, **body))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"series": [{"values": [NaN]}]}', b'{"series": [{"values": [1e999]}]}'])
def test_what_is_no_json_is_refused(server: Running, body: bytes) -> None:
    answer = server.client.post(PATH, content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"].endswith(".")


def test_a_request_that_takes_too_long_is_answered_504_and_its_session_stays() -> None:
    model = fake_forecaster()
    with running(model, lanes=1) as own:
        assert isinstance(model.opened, FakeForecastSet)
        session = own.post("/v1/sessions", model="hours")["id"]
        own.post(PATH, session=session, series=[series(5)])
        gate = model.opened.runner.gate = threading.Event()
        body = {"session": session, "series": [{"values": [6]}]}
        answer = own.client.post(PATH, json=body, headers={"x-request-timeout-ms": "100"})
        assert answer.status_code == 504
        gate.set()
        assert own.post(PATH, **body)["forecasts"][0]["mean"] == fake_forecast([5, 6], DAY)


def test_many_clients_get_their_own_answers(server: Running) -> None:
    def one(index: int) -> bool:
        values = [float(index + step) for step in range(1 + index % 40)]
        (found,) = server.post(PATH, series=[series(*values)])["forecasts"]
        return bool(found["mean"] == fake_forecast([*values], DAY))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(200)))
