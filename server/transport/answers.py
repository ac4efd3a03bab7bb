"""Answers as JSON."""

from typing import Any

import orjson
from starlette.responses import Response

from server.errors import ApiError


class JsonAnswer(Response):
    """A body written by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content as JSON in UTF-8; arrays are lists, float32 with the fewest digits that give it again."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def error_answer(error: ApiError) -> JsonAnswer:
    """The answer to a request that failed."""
    return JsonAnswer(error.body, status_code=error.status, headers=error.headers)
