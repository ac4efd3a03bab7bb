"""What a caller may ask of text generation: one frozen object, checked once. Knows no HTTP and no model."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from models.config import FrozenModel

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256


def _stops_from(value: Any) -> tuple[str, ...]:
    """One string, a list of strings or nothing, as a tuple. Raises ValueError in a plain sentence."""
    if value is None:
        return ()
    stops = (value,) if isinstance(value, str) else value
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError("stop must be a string or a list of strings")
    if len(stops) > MAX_STOPS:
        raise ValueError(f"stop holds {len(stops)} strings; at most {MAX_STOPS} are allowed")
    for stop in stops:
        if not 1 <= len(stop) <= MAX_STOP_CHARACTERS:
            raise ValueError(f"a stop string has {len(stop)} characters; 1 to {MAX_STOP_CHARACTERS} are allowed")
    return tuple(stops)


_STOP_STRING = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS}
Stops = Annotated[
    tuple[str, ...],
    BeforeValidator(_stops_from),
    WithJsonSchema({"anyOf": [_STOP_STRING, {"type": "array", "items": _STOP_STRING, "maxItems": MAX_STOPS}]}),
]


class GenerationOptions(FrozenModel):
    """How to continue a prompt.

    Sampling is defined in models.decoding.sampler, stop strings in models.decoding.stop_strings.
    """

    max_tokens: Annotated[int, Field(ge=1, le=4096, description="Most tokens to generate, the end token counted.")] = (
        256
    )
    min_tokens: Annotated[
        int, Field(ge=0, description="Until so many tokens neither the end token nor a stop string ends the text.")
    ] = 0
    temperature: Annotated[float, Field(ge=0, le=10, description="0 is greedy: the likeliest token.")] = 1.0
    top_k: Annotated[int, Field(ge=0, description="Sample among the k likeliest tokens; 0 is off.")] = 0
    top_p: Annotated[
        float, Field(gt=0, le=1, description="Sample among the fewest likeliest tokens whose probability reaches it.")
    ] = 1.0
    min_p: Annotated[
        float, Field(ge=0, le=1, description="Drop tokens less likely than this share of the likeliest one's.")
    ] = 0.0
    stop: Annotated[Stops, Field(description="The text ends before the first of these; it is not shown.")] = ()
    n: Annotated[int, Field(ge=1, le=16, description="Continuations of each prompt.")] = 1
    seed: Annotated[
        int | None, Field(ge=0, le=2**63 - 1, description="Same seed, same answer; random if left out.")
    ] = None

    @field_validator("min_tokens")
    @classmethod
    def _min_is_not_above_max(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_tokens")  # absent when it was itself wrong
        if most is not None and value > most:
            raise ValueError(f"min_tokens may be at most max_tokens, which is {most}")
        return value
