"""POST /translate and /detect, GET /languages and /frontend/settings, as LibreTranslate's clients ask for them.

What they send and expect: https://docs.libretranslate.com. The translations are those of /v1/translate. An error is
{"error": "a sentence"}. A body is JSON or a form; fields may stand in the query, too.
"""

import hmac
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema
from starlette.responses import Response

from server.admission import MAX_TEXTS, beside_loop, parsed_body
from server.api.description import FORM, JSON, ErrorText, described
from server.api.translate import TASK, Answering, TranslateRequest, is_long, languages_of, translator_of
from server.endpoint import Registry
from server.errors import ApiError, BadRequestError, FieldError, ForbiddenError, shown
from server.http.access import JsonAnswer, PlainRoute, header_of
from server.http.body import MAX_FIELDS, Asked, checked, request_from
from server.service import Service
from server.text.languages import Detected, detect, language_code, name_of
from server.text.markup import Stretch, parts_of
from server.text.passage import Passage, Reader

PATHS = ("/translate", "/detect", "/languages", "/frontend")  # below which errors have this dialect's shape
AUTO = "auto"
_FORM = "application/x-www-form-urlencoded"
_MOST_ALTERNATIVES = 15
_USUAL_BEAM = 4
_UNKNOWN = Detected("en", 0.0)  # of a text without letters, as LibreTranslate has it


def _texts_from(value: Any) -> str | tuple[str, ...]:
    """One text stays one, because its answer has another shape than that of a list of one. Raises ValueError."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("must be a string or a list of strings")
    if len(value) > MAX_TEXTS:
        raise ValueError(f"{len(value)} strings; at most {MAX_TEXTS} are allowed; send them in several requests")
    return tuple(value)


_TEXT = {"type": "string", "minLength": 1}
Texts = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_texts_from),
    WithJsonSchema(
        {"anyOf": [_TEXT, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_TEXTS}]}
    ),
]


class LibreTranslateRequest(BaseModel):
    """Translate one or several texts."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    q: Texts = Field(description="The text, or several.")
    source: str = Field(description='Language to translate from, or "auto": found out for each text.')
    target: str = Field(description="Language to translate to.")
    format: Literal["text", "html"] = Field("text", description="html: tags are kept and stay around their words.")
    alternatives: int = Field(
        0, ge=0, le=_MOST_ALTERNATIVES, description="Further translations of each text, the best first."
    )
    api_key: str = Field("", description="Where the server asks for one.")


class DetectRequest(BaseModel):
    """Find out a text's language."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    q: str = Field(description="The text.")
    api_key: str = Field("", description="Where the server asks for one.")


class DetectedLanguage(BaseModel):
    """A language and how certain it is."""

    language: str
    confidence: int = Field(description="0 to 100.")


class LibreTranslateWarning(BaseModel):
    """As /v1/translate has them."""

    code: str
    message: str


class LibreTranslateAnswer(BaseModel):
    """The answer; where q is a list, each field is a list, too."""

    translatedText: str | list[str]  # noqa: N815 - the dialect's name
    detectedLanguage: DetectedLanguage | list[DetectedLanguage] | None = Field(  # noqa: N815
        None, description='Where source is "auto".'
    )
    alternatives: list[str] | list[list[str]] | None = Field(None, description="Where they are asked for.")
    warnings: list[LibreTranslateWarning] | list[list[LibreTranslateWarning]] | None = Field(
        None, description="Where there are any; this server's own field."
    )


class DetectAnswer(RootModel[list[DetectedLanguage]]):
    """The likeliest language."""


class ServedLanguage(BaseModel):
    """A language and what it is translated to."""

    code: str
    name: str
    targets: list[str]


class LanguagesAnswer(RootModel[list[ServedLanguage]]):
    """The languages of the loaded translators."""


_EXAMPLE = {"q": "Where is the station?", "source": "en", "target": "zh", "format": "text", "alternatives": 1}


def libretranslate_error(error: ApiError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An error as these clients read it: status, body, headers."""
    status = BadRequestError.status if error.status == FieldError.status else error.status
    return status, {"error": error.message}, error.headers


def libretranslate_router(service: Service) -> APIRouter:
    """The route that needs a model's permit."""
    router = APIRouter(tags=["LibreTranslate"], route_class=PlainRoute)

    @router.post(
        "/translate",
        summary="Translate a text, as LibreTranslate has it",
        **described(
            LibreTranslateRequest,
            LibreTranslateAnswer,
            _EXAMPLE,
            is_timed=True,
            error=ErrorText,
            bodies=(JSON, FORM),
            is_required=False,
        ),
    )
    async def translate(request: Request) -> Response:
        """Translations of one text or several, of a language that is given or found out for each."""
        asked = await _asked(service, request, LibreTranslateRequest, ("q", "source", "target"))
        check_key(service, request, asked.api_key)
        return JsonAnswer(await _answer(service, request, asked))

    return router


def languages_router(service: Service) -> APIRouter:
    """The routes that need no model's permit."""
    router = APIRouter(tags=["LibreTranslate"], route_class=PlainRoute)

    @router.post(
        "/detect",
        summary="Find out a text's language, as LibreTranslate has it",
        **described(
            DetectRequest,
            DetectAnswer,
            {"q": "Bonjour tout le monde"},
            error=ErrorText,
            bodies=(JSON, FORM),
            is_required=False,
        ),
    )
    async def detected(request: Request) -> Response:
        """The likeliest language, also one that no model is loaded for."""
        asked = await _asked(service, request, DetectRequest, ("q",))
        check_key(service, request, asked.api_key)
        sources = {languages_of(item).source for item in _translators(service.registry)}
        found = await beside_loop(lambda: detect(asked.q, sources) or _UNKNOWN, is_long=is_long([asked.q]))
        return JsonAnswer([_confidence(found)])

    @router.get(
        "/languages",
        summary="The languages that are translated, as LibreTranslate has it",
        **described(None, LanguagesAnswer, error=ErrorText),
    )
    async def languages(request: Request) -> Response:  # noqa: ARG001
        """Each language with those that it is translated to, itself among them."""
        pairs = pairs_of(service.registry)
        codes = sorted({code for pair in pairs for code in pair})
        return JsonAnswer(
            [
                {
                    "code": code,
                    "name": name_of(code),
                    "targets": sorted({code, *(target for source, target in pairs if source == code)}),
                }
                for code in codes
            ]
        )

    @router.get(
        "/frontend/settings",
        summary="What LibreTranslate's pages ask for",
        **described(None, None, answers={JSON: {"type": "object"}}, error=ErrorText),
    )
    async def settings(request: Request) -> Response:  # noqa: ARG001
        """The first pair of languages, and whether keys are asked for."""
        pairs = sorted(pairs_of(service.registry))
        target = pairs[0][1] if pairs else "en"
        has_keys = bool(service.settings.api_keys)
        return JsonAnswer(
            {
                "apiKeys": has_keys,
                "charLimit": -1,
                "filesTranslation": False,
                "frontendTimeout": 500,
                "keyRequired": has_keys,
                "language": {
                    "source": {"code": AUTO, "name": "Auto Detect"},
                    "target": {"code": target, "name": name_of(target)},
                },
                "suggestions": False,
                "supportedFilesFormat": [],
            }
        )

    return router


def _translators(registry: Registry) -> list[Any]:
    return [item for item in registry.by_name if item.model.task == TASK]


def pairs_of(registry: Registry) -> set[tuple[str, str]]:
    """The pairs of languages that the loaded models translate: source and target."""
    return {(pair.source, pair.target) for pair in map(languages_of, _translators(registry))}


async def _asked(service: Service, request: Request, kind: type[Asked], required: Sequence[str]) -> Asked:
    """A request's fields, from its body and its query; those of the body win. Raises ApiError."""
    is_form = (header_of(request.scope, b"content-type") or "").partition(";")[0].strip().lower()

    def parse(body: bytes) -> Asked:
        fields: dict[str, Any] = _single(request.url.query) | _fields_of(body, is_form)
        for name in required:
            if not fields.get(name):
                raise FieldError(f"Invalid request: missing {name} parameter", param=name)
        return checked(kind, fields)

    return await parsed_body(service, request, TASK, parse)


def _fields_of(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a body. Raises FieldError, BadJsonError."""
    if not body:
        return {}
    if content_type == _FORM and not body.lstrip().startswith(b"{"):
        try:
            return _single(body.decode())
        except UnicodeDecodeError:
            raise BadRequestError("The form is not in UTF-8. Send it percent-encoded.") from None
    if content_type.startswith("multipart/"):
        raise BadRequestError(f"The body is {content_type}. Send JSON, or a form as {_FORM}.")
    return request_from(_Fields, body).model_extra or {}


class _Fields(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="allow")


def _single(query: str) -> dict[str, Any]:
    """The fields of a form or query; one that is given several times is a list. Raises FieldError."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise FieldError(f"The form has more than {MAX_FIELDS} fields.") from None
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            fields[name] = [*(fields[name] if isinstance(fields[name], list) else [fields[name]]), value]
        else:
            fields[name] = value
    return fields


def check_key(service: Service, request: Request, given: str) -> None:
    """Refuse a request without one of the server's keys, in its header (which has been checked) or its body.

    Raises:
        ForbiddenError: the key is not one of them.
        BadRequestError: there is none, as LibreTranslate has it.
    """
    keys = [key.get_secret_value() for key in service.settings.api_keys]
    if not keys or header_of(request.scope, b"authorization") is not None:
        return
    if not given:
        raise BadRequestError("This server asks for an API key. Send it as api_key, or ask its operator for one.")
    if not any([hmac.compare_digest(given.encode(), key.encode()) for key in keys]):  # noqa: C419 - all of them
        raise ForbiddenError("Invalid API key", code="key_invalid")


async def _answer(service: Service, request: Request, asked: LibreTranslateRequest) -> dict[str, Any]:
    """The answer to a request. Raises ApiError."""
    texts = [asked.q] if isinstance(asked.q, str) else list(asked.q)
    pairs = pairs_of(service.registry)
    codes = {code for pair in pairs for code in pair}
    target = _code(asked.target, codes)
    if asked.source == AUTO:
        sources = {source for source, _ in pairs}
        is_html = asked.format == "html"
        detected = await beside_loop(
            lambda: [_detected(text, sources, is_html) for text in texts], is_long=is_long(texts)
        )
    else:
        detected = [Detected(_code(asked.source, codes), 1.0)] * len(texts)
    by_source: dict[str, list[int]] = {}
    for number, (text, language) in enumerate(zip(texts, detected, strict=True)):
        if text.strip():
            by_source.setdefault(language.language, []).append(number)
    entries: list[dict[str, Any]] = [{"text": text} for text in texts]
    for source in by_source:  # all are known to be there before the first is translated
        _check_pair(source, target, pairs)
    for source, numbers in by_source.items():
        if source != target:
            found = await _translated(service, request, asked, source, target, [texts[i] for i in numbers])
            for number, entry in zip(numbers, found, strict=True):
                entries[number] = entry
    answer: dict[str, Any] = {"translatedText": [entry["text"] for entry in entries]}
    if asked.source == AUTO:
        answer["detectedLanguage"] = list(map(_confidence, detected))
    if asked.alternatives:
        answer["alternatives"] = [entry.get("alternatives", []) for entry in entries]
    if any("warnings" in entry for entry in entries):
        answer["warnings"] = [entry.get("warnings", []) for entry in entries]
    return {name: values[0] for name, values in answer.items()} if isinstance(asked.q, str) else answer


def _code(given: str, codes: set[str]) -> str:
    """A language of the loaded models. Raises FieldError."""
    try:
        code = language_code(given)
    except ValueError:
        code = ""
    if code not in codes:
        raise FieldError(f"{shown(given)[1:-1]} is not supported", code="languages_not_served")
    return code


def _detected(text: str, sources: set[str], is_html: bool) -> Detected:
    if is_html:
        text = " ".join(part.text for part in parts_of(text) if isinstance(part, Stretch))
    return detect(text, sources) or _UNKNOWN._replace(language=min(sources, default="en"))


def _check_pair(source: str, target: str, pairs: set[tuple[str, str]]) -> None:
    """Raises FieldError: no model has this pair."""
    if source == target or (source, target) in pairs:
        return
    listed = ", ".join(f"{first} to {second}" for first, second in sorted(pairs))
    raise FieldError(
        f"{name_of(target)} ({target}) is not available as a target language from {name_of(source)} ({source}). "
        f"The loaded models translate {listed}.",
        code="languages_not_served",
    )


async def _translated(
    service: Service, request: Request, asked: LibreTranslateRequest, source: str, target: str, texts: list[str]
) -> list[dict[str, Any]]:
    """Of each text, in one language, its translation, alternatives and warnings. Raises ApiError."""
    endpoint = translator_of(service.registry, None, source, target)
    beam_size = max(_USUAL_BEAM, asked.alternatives + 1)
    native = TranslateRequest(text=tuple(texts), beam_size=beam_size, alternatives=asked.alternatives)
    if asked.format == "text":
        answer = await Answering(service, endpoint, request, native).whole()
        return [_plain(entry) for entry in answer["translations"]]
    documents = await beside_loop(lambda: list(map(parts_of, texts)), is_long=is_long(texts))

    def passages(reader: Reader) -> list[Passage]:
        return [
            Passage(part.text, reader, edges=part.edges)
            for document in documents
            for part in document
            if isinstance(part, Stretch)
        ]

    answer = await Answering(service, endpoint, request, native, passages).whole()
    waiting = iter(answer["translations"])
    return [
        _document([part if isinstance(part, str) else next(waiting) for part in document], asked.alternatives)
        for document in documents
    ]


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """A text's translation, with alternatives as strings."""
    alternatives = [other["text"] for other in entry.get("alternatives", [])]
    warnings = {"warnings": entry["warnings"]} if "warnings" in entry else {}
    return {"text": entry["text"], "alternatives": alternatives, **warnings}


def _document(parts: list[str | dict[str, Any]], num_alternatives: int) -> dict[str, Any]:
    """A document of what is kept of it and the translations of its stretches, put together."""
    found = [("", 0.0)]
    warnings: dict[str, dict[str, Any]] = {}
    for part in parts:
        if isinstance(part, str):
            found = [(text + part, score) for text, score in found]
            continue
        choices = [(part["text"], part["score"])]
        choices += [(other["text"], other["score"]) for other in part.get("alternatives", [])]
        together = [(text + more, score + added) for text, score in found for more, added in choices]
        found = sorted(together, key=lambda each: each[1], reverse=True)[: 1 + num_alternatives]
        for warning in part.get("warnings", []):
            warnings.setdefault(warning["message"], warning)
    (text, _), *others = found
    entry: dict[str, Any] = {"text": text, "alternatives": [text for text, _ in others]}
    return entry | ({"warnings": list(warnings.values())} if warnings else {})


def _confidence(found: Detected) -> dict[str, Any]:
    return {"confidence": round(100 * found.confidence), "language": found.language}
