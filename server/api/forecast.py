"""POST /v1/forecast: series in, the next values as a mean and quantiles out; alone, or going on from a session."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from starlette.responses import Response

from models.config import FrozenModel
from models.forecaster import QUANTILES, ForecasterConfig
from models.frequency import timestamp_text
from server.admission import parsed_body, working
from server.api.description import described
from server.api.series import SeriesReader, SeriesRequest, SeriesRow
from server.endpoint import Endpoint
from server.engine.sequence.request import FramesOutput, FramesRequest
from server.errors import FieldError, shown
from server.http.access import JsonAnswer, PlainRoute, new_id, record_of
from server.http.body import request_from
from server.service import Service
from server.sessions.sequences import SequenceUse

TASK = "forecast"
MAX_SERIES = 256
MAX_FIELDS = 16  # of a series
MOST_STEPS = 1024
_MANY = 2048  # values; reading more at once would hold up the event loop


def _few(value: Any) -> Any:
    """Refuse what would take long to check. Raises ValueError with a plain sentence."""
    if isinstance(value, list):
        if not 1 <= len(value) <= MAX_SERIES:
            parts = f"; send them in requests of at most {MAX_SERIES}" if value else ""
            raise ValueError(f"{len(value)} entries; 1 to {MAX_SERIES} are allowed{parts}")
        for index, entry in enumerate(value):
            if isinstance(entry, dict) and len(entry) > MAX_FIELDS:
                raise ValueError(f"entry {index} has {len(entry)} fields; at most {MAX_FIELDS} are looked at")
    return value


_QUANTILES_SCHEMA = {
    "anyOf": [{"type": "array", "items": {"enum": list(QUANTILES)}, "uniqueItems": True}, {"type": "null"}],
}


class ForecastRequest(FrozenModel):
    """Forecast one or several series."""

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    series: Annotated[list[SeriesRequest], BeforeValidator(_few)] = Field(
        min_length=1, max_length=MAX_SERIES, description=f"1 to {MAX_SERIES}; one with a session."
    )
    horizon: int | None = Field(None, ge=1, le=MOST_STEPS, description="Steps; at most, and by default, the model's.")
    quantiles: Annotated[list[float] | None, WithJsonSchema(_QUANTILES_SCHEMA)] = Field(
        None, description="Some of 0.1, 0.2 ... 0.9; by default all."
    )
    session: str | None = Field(None, description="The values are appended to what it has read.")


class SeriesForecast(BaseModel):
    """What follows a series."""

    id: str | None = None
    timestamps: list[str] | None = Field(None, description="Where the series has any.")
    mean: list[float] = Field(description="The average of the nine quantiles.")
    quantiles: dict[str, list[float]] = Field(description="By level; they do not cross.")


class ForecastUsage(BaseModel):
    """What was counted."""

    observations: int


class ForecastAnswer(BaseModel):
    """The answer."""

    id: str
    model: str = Field(description="name/version of the model that answered.")
    forecasts: list[SeriesForecast] = Field(description="In the order of the series.")
    usage: ForecastUsage


_EXAMPLE = {
    "series": [{"start": "2024-01-01T00:00", "values": [605, 586, 586, 559, None, 443, 422, 395, 382]}],
    "horizon": 3,
    "quantiles": [0.1, 0.5, 0.9],
}


def forecast_router(service: Service) -> APIRouter:
    """The route of forecasts."""
    router = APIRouter(tags=["forecast"], route_class=PlainRoute)

    @router.post(
        "/v1/forecast",
        summary="Forecast a series",
        **described(ForecastRequest, ForecastAnswer, _EXAMPLE, statuses=(409, 410), is_timed=True),
    )
    async def forecast(request: Request) -> Response:
        """The next values of each series: mean and quantiles, with timestamps. With `session`, the values are read on
        from where it stands.
        """
        asked = await parsed_body(service, request, TASK, lambda body: request_from(ForecastRequest, body, None))
        endpoint = service.registry.find(TASK, asked.model)
        config = endpoint.model.forecaster
        assert config is not None, "a model of this task has one"
        horizon, levels = _horizon_of(asked, endpoint, config), _levels_of(asked.quantiles)
        _check_sizes(asked, endpoint)
        record = record_of(request)
        record.prompt_tokens = sum(len(item.values) for item in asked.series)
        reads: list[SeriesRow] = []
        with ExitStack() as stack:
            use: SequenceUse | None = None

            async def prepare(hold: Callable[[int], None]) -> FramesRequest:
                nonlocal use
                hold(record.prompt_tokens)
                if asked.session is not None:
                    use = stack.enter_context(service.sessions.reading_on(asked.session, endpoint.model))
                    use.check(record.prompt_tokens)
                reader = SeriesReader(config, horizon, use)

                def read_all() -> list[SeriesRow]:
                    return [reader.read(item, _name(i)) for i, item in enumerate(asked.series)]

                reads.extend(await asyncio.to_thread(read_all) if record.prompt_tokens > _MANY else read_all())
                state = np.zeros(endpoint.model.state_width, np.float32) if use is None else use.state
                work = FramesRequest(keeps_state=use is not None)
                for index, item in enumerate(reads):
                    if not state[-1] and np.isnan(item.row["values"]).all():
                        raise FieldError(
                            f"{_name(index)}: all values are null; one at least must be a number.", param="series"
                        )
                    work.add_row(item.row, len(item.row["values"]), state)
                return work

            async with working(service, endpoint, request, prepare) as work:
                found: list[FramesOutput] = []
                while len(found) < len(reads):
                    found += await work.outputs.get()
                found.sort(key=lambda output: output.number)
                forecasts = [
                    _forecast(item, read, output, horizon, levels)
                    for item, read, output in zip(asked.series, reads, found, strict=True)
                ]
                if use is not None:
                    use.finish(found[0].state, reads[0].row)
        return JsonAnswer(
            {
                "id": f"fc-{new_id()}",
                "model": endpoint.id,
                "forecasts": forecasts,
                "usage": {"observations": record.prompt_tokens},
            }
        )

    return router


def _name(index: int) -> str:
    return f"series {index}"


def _horizon_of(asked: ForecastRequest, endpoint: Endpoint, config: ForecasterConfig) -> int:
    """Raises FieldError."""
    if asked.horizon is not None and asked.horizon > config.horizon:
        raise FieldError(
            f"horizon: {asked.horizon} steps; {endpoint.id} forecasts 1 to {config.horizon}. Ask for fewer, or train a "
            "model with a larger data.horizon.",
            param="horizon",
        )
    return asked.horizon or config.horizon


def _levels_of(quantiles: Sequence[float] | None) -> list[int]:
    """The indices of the quantiles that are asked for. Raises FieldError."""
    if quantiles is None:
        return list(range(len(QUANTILES)))
    for level in quantiles:
        if level not in QUANTILES:
            allowed = ", ".join(map(str, QUANTILES))
            raise FieldError(f"quantiles: {shown(level)} is none of {allowed}.", param="quantiles")
    if len(set(quantiles)) != len(quantiles):
        raise FieldError("quantiles: name each once.", param="quantiles")
    return [QUANTILES.index(level) for level in quantiles]


def _check_sizes(asked: ForecastRequest, endpoint: Endpoint) -> None:
    """Raises FieldError."""
    if asked.session is not None and len(asked.series) != 1:
        raise FieldError(
            f"series: a session has one series, and {len(asked.series)} are given. Send a request for each session.",
            param="series",
        )
    limit = endpoint.limit
    for index, item in enumerate(asked.series):
        if not item.values:
            raise FieldError(f"{_name(index)}: values is empty; one at least is needed.", param="series")
        if len(item.values) > limit.tokens:
            raise FieldError(
                f"{_name(index)} has {len(item.values)} values; at most {limit.tokens} are allowed in a request "
                f"({limit.setting}). Leave out the oldest, or append them to a session in several requests.",
                param="series",
            )


def _forecast(
    item: SeriesRequest, read: SeriesRow, output: FramesOutput, horizon: int, levels: list[int]
) -> dict[str, Any]:
    """One entry of the answer. Raises FieldError: it would hold numbers that are not finite."""
    mean, quantiles = output.outputs["mean"][:horizon], output.outputs["quantiles"][:horizon]
    if not (np.isfinite(mean).all() and np.isfinite(quantiles).all()):
        raise FieldError(
            "The forecast would hold numbers that are not finite; the values may be too large.",
            param="series",
            code="forecast_not_finite",
        )
    found: dict[str, Any] = {} if item.id is None else {"id": item.id}
    if read.has_dates:
        found["timestamps"] = [timestamp_text(time, has_offset=read.has_offset) for time in read.ahead]
    found["mean"] = mean.tolist()
    found["quantiles"] = {str(QUANTILES[level]): quantiles[:, level].tolist() for level in levels}
    return found
