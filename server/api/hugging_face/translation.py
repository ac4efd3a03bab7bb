"""translation: what /v1/translate gives, one entry for each text."""

from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import MAX_TEXTS
from server.api.hugging_face.request import Asked
from server.api.translate import TranslateRequest, translated
from server.endpoint import Endpoint, HuggingFaceTask
from server.errors import FieldError
from server.http.access import JsonAnswer
from server.http.body import checked
from server.service import Service


class TranslationParameters(FrozenModel):
    """What to translate from and to, and how."""

    src_lang: str | None = Field(None, description="Language to translate from; the model's where it is left out.")
    tgt_lang: str | None = Field(None, description="Language to translate to; the model's where it is left out.")
    clean_up_tokenization_spaces: bool | None = Field(None, description="Without effect: there are none to clean up.")
    truncation: Literal["do_not_truncate"] | None = Field(None, description="A text that is too long is refused.")
    generate_parameters: dict[str, Any] | None = Field(
        None,
        description="num_beams, max_new_tokens or max_length, length_penalty; do_sample, temperature, top_k, top_p, "
        "seed.",
    )


class GenerateParameters(FrozenModel):
    """How to search, in the words of Hugging Face's `generate`."""

    num_beams: Annotated[int | None, Field(ge=1, le=16)] = None
    max_new_tokens: Annotated[int | None, Field(ge=1, le=1024)] = None
    max_length: Annotated[int | None, Field(ge=1, le=1024)] = None
    length_penalty: Annotated[float | None, Field(ge=0, le=5)] = None
    do_sample: bool = False
    temperature: Annotated[float | None, Field(ge=0, le=10)] = None
    top_k: Annotated[int | None, Field(ge=0)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=0, le=2**63 - 1)] = None


_OURS = ("warnings", "detected_language")  # beside the text, where there are any
# our own fields, as the messages about them name them here
_NAMES = {
    "text": "inputs",
    "source": "src_lang",
    "target": "tgt_lang",
    "beam_size": "num_beams",
    "max_tokens": "max_new_tokens",
}


async def _answer(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Response:
    if len(asked.texts) > MAX_TEXTS:
        raise FieldError(
            f"inputs: {len(asked.texts)} texts; 1 to {MAX_TEXTS} are translated in a request.", param="inputs"
        )
    parameters: TranslationParameters = asked.parameters
    fields = {
        "model": endpoint.id,
        "text": list(asked.texts),
        "source": parameters.src_lang,
        "target": parameters.tgt_lang,
        **_options(parameters.generate_parameters or {}),
    }
    found = await translated(service, request, checked(TranslateRequest, fields))
    return JsonAnswer(
        [
            {"translation_text": each["text"], **{name: each[name] for name in _OURS if name in each}}
            for each in found["translations"]
        ]
    )


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of /v1/translate. Raises FieldError."""
    found = checked(GenerateParameters, {name: value for name, value in given.items() if value is not None})
    sampling = {name: getattr(found, name) for name in ("temperature", "top_k", "top_p", "seed")}
    sampling = {name: value for name, value in sampling.items() if value is not None}
    if sampling and not found.do_sample:
        name = next(iter(sampling))
        raise FieldError(f"{name}: tokens are drawn with do_sample true; send it, or no {name}.", param=name)
    if found.do_sample and (found.num_beams or 1) > 1:
        raise FieldError(
            f"num_beams: tokens are drawn with num_beams 1, and it is {found.num_beams}; leave one of the two out.",
            param="num_beams",
        )
    if found.max_length is not None and found.max_new_tokens is not None:
        raise FieldError("max_length and max_new_tokens mean the same here; leave one out.", param="max_length")
    options = {
        "beam_size": 1 if found.do_sample else found.num_beams,
        "max_tokens": found.max_new_tokens or found.max_length,
        "length_penalty": found.length_penalty,
        **({"temperature": 1.0, **sampling} if found.do_sample else {}),
    }
    return {name: value for name, value in options.items() if value is not None}


TRANSLATION = HuggingFaceTask("translation", TranslationParameters, _answer, _NAMES)
