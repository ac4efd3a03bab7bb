"""An error as Hugging Face's clients read it."""

from typing import Any

from server.errors import ApiError

# by status, the words of text-generation-inference; other errors have our code
_KINDS = {400: "validation", 413: "validation", 422: "validation", 429: "overloaded", 500: "generation"}


def hugging_face_error(error: ApiError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body, headers."""
    return error.status, {"error": error.message, "error_type": _KINDS.get(error.status, error.code)}, error.headers
