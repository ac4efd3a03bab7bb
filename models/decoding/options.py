"""What a caller may ask of generation and of translation: frozen objects, checked once. Knows no HTTP and no model."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from models.config import FrozenModel

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
MAX_BIASES = 300
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,8}")


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


def _biases_from(value: Any) -> dict[int, float]:
    """An object of numbers by token id, as JSON has it. Raises ValueError in a plain sentence."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError('must be an object of token ids and biases, such as {"5": -100}')
    if len(value) > MAX_BIASES:
        raise ValueError(f"{len(value)} biases; at most {MAX_BIASES} are allowed")
    biases = {}
    for key, bias in value.items():
        is_id = isinstance(key, int) or (isinstance(key, str) and _TOKEN_ID.fullmatch(key) is not None)
        if not is_id:
            raise ValueError(f"{ascii(key)[:40]} is not a token id; ids are 0, 1, 2, ...")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
            raise ValueError(f"the bias of token {ascii(key)[:40]} must be a number from -100 to 100")
        biases[int(key)] = float(bias)
    return biases


Biases = Annotated[
    dict[int, float],
    BeforeValidator(_biases_from),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^({_TOKEN_ID.pattern})$"},
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
            "maxProperties": MAX_BIASES,
        }
    ),
]


class GenerationOptions(FrozenModel):
    """How to continue a prompt.

    Sampling is defined in models.decoding.sampler, penalties in models.decoding.penalties, stop strings in
    models.decoding.stop_strings, logprobs in models.decoding.logprobs.
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
    repetition_penalty: Annotated[
        float, Field(gt=0, le=10, description="Above 1: tokens of the prompt and the answer become less likely.")
    ] = 1.0
    presence_penalty: Annotated[
        float, Field(ge=-2, le=2, description="Taken from the logit of tokens that are in the answer.")
    ] = 0.0
    frequency_penalty: Annotated[
        float, Field(ge=-2, le=2, description="Taken from a token's logit as often as it is in the answer.")
    ] = 0.0
    logit_bias: Annotated[Biases, Field(description="Added to the logits of these token ids, -100 to 100.")] = Field(
        default_factory=dict
    )
    stop: Annotated[Stops, Field(description="The text ends before the first of these; it is not shown.")] = ()
    n: Annotated[int, Field(ge=1, le=16, description="Continuations of each prompt.")] = 1
    seed: Annotated[
        int | None, Field(ge=0, le=2**63 - 1, description="Same seed, same answer; random if left out.")
    ] = None
    logprobs: Annotated[
        int | None,
        Field(ge=0, le=20, description="Return each token's log-probability and those of so many likeliest ones."),
    ] = None
    echo: Annotated[bool, Field(description="Begin each text with its prompt.")] = False

    @property
    def changes_logits(self) -> bool:
        """Whether a penalty or a bias changes what the model gives."""
        penalties = (self.repetition_penalty, self.frequency_penalty, self.presence_penalty)
        return penalties != (1.0, 0.0, 0.0) or bool(self.logit_bias)

    @field_validator("min_tokens")
    @classmethod
    def _min_is_not_above_max(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_tokens")  # absent when it was itself wrong
        if most is not None and value > most:
            raise ValueError(f"min_tokens may be at most max_tokens, which is {most}")
        return value


class TranslationOptions(FrozenModel):
    """How to translate a text.

    The search and its score are defined in models.decoding.beam_search, sampling in models.decoding.sampler.
    """

    beam_size: Annotated[
        int, Field(ge=1, le=16, description="Hypotheses followed at once; 1 is greedy: the likeliest token each time.")
    ] = 4
    length_penalty: Annotated[
        float, Field(ge=0, le=5, description="Exponent of the length by which scores are divided; more favours longer.")
    ] = 1.0
    coverage_penalty: Annotated[
        float,
        Field(ge=0, le=5, description="Weight of what a translation loses by leaving source tokens out; 0 is off."),
    ] = 0.0
    alternatives: Annotated[
        int, Field(ge=0, description="Further translations to return, at most beam_size - 1, the best first.")
    ] = 0
    temperature: Annotated[
        float, Field(ge=0, le=10, description="Above 0 tokens are drawn, with beam_size 1; 0 takes the likeliest.")
    ] = 0.0
    top_k: Annotated[int, Field(ge=0, description="As for generation.")] = 0
    top_p: Annotated[float, Field(gt=0, le=1, description="As for generation.")] = 1.0
    seed: Annotated[int | None, Field(ge=0, le=2**63 - 1, description="As for generation.")] = None
    max_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="Most tokens of a sentence's translation, the end token counted; by default as many as the "
            "longest that the model was trained on has, and at least twice its source's and 20.",
        ),
    ] = None
    replace_unknown: Annotated[
        bool, Field(description="Put the source token that it attends to most in place of an unknown one.")
    ] = True
    alignment: Annotated[bool, Field(description="Return how much each target token attends to each source token.")] = (
        False
    )

    @field_validator("temperature", "top_k", "top_p", "seed")
    @classmethod
    def _a_beam_of_one_is_sampled(cls, value: Any, info: ValidationInfo) -> Any:
        beam_size = info.data.get("beam_size")  # absent when it was itself wrong
        assert info.field_name is not None
        if beam_size is not None and beam_size > 1 and value != cls.model_fields[info.field_name].default:
            name = info.field_name
            raise ValueError(f"tokens are drawn with beam_size 1, and it is {beam_size}; send 1, or no {name}")
        return value

    @property
    def sampling(self) -> GenerationOptions | None:
        """How tokens are drawn; None where the likeliest are taken."""
        if not self.temperature:
            return None
        return GenerationOptions(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    @field_validator("alternatives")
    @classmethod
    def _alternatives_are_of_the_beam(cls, value: int, info: ValidationInfo) -> int:
        beam_size = info.data.get("beam_size")  # absent when it was itself wrong
        if beam_size is not None and value >= beam_size:
            raise ValueError(f"alternatives may be at most beam_size - 1, which is {beam_size - 1}; raise beam_size")
        return value
