"""text-generation, in the JSON of text-generation-inference: whole, or an event for each token.

With the same seed, which the details have, the text is that of /v1/generate. Tokens are drawn where do_sample,
temperature, top_k or top_p is given, else the likeliest is taken; the text ends before a stop string.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from models.config import FrozenModel
from models.decoding.options import Stops
from server.api.completions import mean_logprob
from server.api.generate import Answering, GenerateRequest
from server.api.hugging_face.error import hugging_face_error
from server.api.hugging_face.request import Asked
from server.endpoint import Endpoint, HuggingFaceTask
from server.engine.generation.request import Generation, TextOutput
from server.errors import FieldError
from server.http.access import JsonAnswer
from server.http.body import checked
from server.http.stream import EventStream
from server.service import Service


class TextGenerationParameters(FrozenModel):
    """How to continue the text."""

    max_new_tokens: Annotated[int, Field(ge=1, le=4096, description="Most tokens to generate.")] = 100
    do_sample: Annotated[bool, Field(description="Draw tokens; without it the likeliest is taken.")] = False
    temperature: Annotated[float | None, Field(ge=0, le=10, description="Draw tokens; 0 takes the likeliest.")] = None
    top_k: Annotated[int | None, Field(ge=0, description="Draw among the k likeliest tokens; 0 is off.")] = None
    top_p: Annotated[
        float | None, Field(gt=0, le=1, description="Draw among the fewest likeliest whose probability reaches it.")
    ] = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    stop: Annotated[Stops, Field(description="The text ends before the first of these.")] = ()
    seed: Annotated[int | None, Field(ge=0, le=2**63 - 1, description="Same seed, same text.")] = None
    best_of: Annotated[int, Field(ge=1, le=16, description="Draw so many, answer with the likeliest.")] = 1
    return_full_text: Annotated[bool, Field(description="Begin the text with the inputs.")] = False
    truncate: Annotated[int | None, Field(ge=1, description="Read the last so many tokens of the inputs.")] = None
    details: Annotated[bool, Field(description="Return the tokens, why the text ended, and the seed.")] = False
    top_n_tokens: Annotated[int, Field(ge=0, le=20, description="Return so many likeliest tokens each time.")] = 0
    decoder_input_details: Annotated[bool, Field(description="Not offered.")] = False
    typical_p: Annotated[float | None, Field(description="Not offered.")] = None
    watermark: Annotated[bool, Field(description="Not offered.")] = False
    grammar: Annotated[Any, Field(description="Not offered.")] = None
    adapter_id: Annotated[str | None, Field(description="Not offered.")] = None

    @field_validator("decoder_input_details", "typical_p", "watermark", "grammar", "adapter_id")
    @classmethod
    def _is_not_offered(cls, value: Any) -> Any:
        if value:
            raise ValueError("is not offered; leave it out (/v1/completions scores a prompt: echo with logprobs)")
        return value

    @property
    def is_sampled(self) -> bool:
        """Whether tokens are drawn."""
        return self.do_sample or (self.temperature, self.top_k, self.top_p) != (None, None, None)


# our own fields, as the messages about them name them here
_NAMES = {"prompt": "inputs", "max_tokens": "max_new_tokens", "n": "best_of"}


async def _answer(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Response:
    parameters: TextGenerationParameters = asked.parameters
    if len(asked.texts) > 1 or asked.is_list:
        raise FieldError("inputs: must be one string; send a request for each text.", param="inputs")
    if parameters.best_of > 1 and (asked.is_streamed or not parameters.is_sampled):
        raise FieldError(
            "best_of chooses among texts that are drawn, once all are there: it goes with do_sample true, and without "
            "stream.",
            param="best_of",
        )
    has_tokens = parameters.details or asked.is_streamed or parameters.best_of > 1
    fields: dict[str, Any] = {
        "prompt": asked.texts[0],
        "max_tokens": parameters.max_new_tokens,
        "temperature": (1.0 if parameters.temperature is None else parameters.temperature) * parameters.is_sampled,
        "top_k": parameters.top_k or 0,
        "top_p": 1.0 if parameters.top_p is None else parameters.top_p,
        "repetition_penalty": parameters.repetition_penalty,
        "frequency_penalty": parameters.frequency_penalty,
        "stop": parameters.stop,
        "seed": parameters.seed,
        "n": parameters.best_of,
        "logprobs": parameters.top_n_tokens if has_tokens else None,
        "stream": asked.is_streamed,
    }
    return await _Generating(
        service, endpoint, request, checked(GenerateRequest, fields), wanted=parameters, inputs=asked.texts[0]
    ).answer()


@dataclass
class _Generating(Answering):
    """See Answering. `asked` is what the engine is to do, `wanted` what the client wants of it."""

    wanted: TextGenerationParameters = field(kw_only=True)
    inputs: str = field(kw_only=True)

    async def answer(self) -> Response:
        """See Answering."""
        if not self.asked.stream:
            return await self.whole()
        events = self.events()
        return EventStream(await anext(events), events, shape=hugging_face_error, has_done=False)

    async def whole(self) -> JsonAnswer:
        """The whole answer. Raises ApiError."""

        def make(generation: Generation, ended: list[TextOutput], _: dict[str, Any]) -> JsonAnswer:
            first, *others = sorted(ended, key=mean_logprob, reverse=True) if len(ended) > 1 else ended
            answer: dict[str, Any] = {"generated_text": self._full(first.text)}
            if self.wanted.details:
                answer["details"] = self._details(generation, first)
                if others:
                    answer["details"]["best_of_sequences"] = [
                        {"generated_text": self._full(other.text), **self._details(generation, other)}
                        for other in others
                    ]
            return JsonAnswer([answer])

        return await self.finished(make)

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """An event for each token; the last one has the whole text and its details. Raises ApiError.

        Where a stop string may cut a token's text, the token waits for the next one.
        """
        async with self._working() as generation:
            text, index, waiting = "", 0, list[dict[str, Any]]()
            update = None
            while update is None or update.finish_reason is None:
                for update in await generation.outputs.get():
                    tokens = self._tokens(update, len(text))
                    text += update.text
                    if waiting and update.text:
                        leading = update.text[: len(update.text) - sum(len(token["token"]["text"]) for token in tokens)]
                        waiting[0]["token"]["text"] += leading
                    waiting += tokens
                    num_held = 0
                    if update.finish_reason is not None:
                        if not waiting or self._reason(update) == "eos_token":
                            waiting.append({"token": self._end_token()})
                        num_held = 1
                    elif self.asked.stop:
                        num_held = 1
                    while len(waiting) > num_held:
                        index += 1
                        yield {"index": index, **waiting.pop(0), "generated_text": None, "details": None}
            assert update is not None, "the last one ends it"
            self._usage(generation, [update])
            details = {
                "finish_reason": self._reason(update),
                "generated_tokens": update.num_tokens,
                "seed": self._seed(generation),
                "input_length": self.record.prompt_tokens,
            }
            yield {"index": index + 1, **waiting[0], "generated_text": self._full(text), "details": details}

    async def _prompts(self, hold: Callable[[int], None]) -> list[tuple[str, list[int]]]:
        ((text, ids),) = await super()._prompts(hold)
        return [(text, ids if self.wanted.truncate is None else ids[-self.wanted.truncate :])]

    def _full(self, text: str) -> str:
        return self.inputs + text if self.wanted.return_full_text else text

    def _details(self, generation: Generation, output: TextOutput) -> dict[str, Any]:
        tokens = self._tokens(output, 0)
        if self._reason(output) == "eos_token":
            tokens.append({"token": self._end_token()})
        details = {
            "finish_reason": self._reason(output),
            "generated_tokens": output.num_tokens,
            "seed": self._seed(generation),
            "prefill": [],
            "tokens": [token["token"] for token in tokens],
        }
        if self.wanted.top_n_tokens:
            details["top_tokens"] = [token.get("top_tokens", []) for token in tokens]
        return details

    def _seed(self, generation: Generation) -> int | None:
        return generation.seed if self.asked.temperature else None

    def _reason(self, output: TextOutput) -> str:
        if output.finish_reason == "length":
            return "length"
        return "eos_token" if output.stop_reason is None else "stop_sequence"

    def _end_token(self) -> dict[str, Any]:
        """What ends a text; how likely it was is not known."""
        return {"id": self.endpoint.model.tokenizer.end_id, "text": "", "logprob": None, "special": True}

    def _tokens(self, output: TextOutput, start: int) -> list[dict[str, Any]]:
        """What is new: `token` and, where they are wanted, `top_tokens`. Their texts end where the output's does.

        Args:
            output: an output with log-probabilities.
            start: characters of the text before it.
        """
        if output.logprobs is None:
            return []
        found, offsets = output.logprobs
        shown = self.endpoint.token_texts.shown
        bounds = [*(offset - start for offset in offsets.tolist()), len(output.text)]
        tokens = []
        for number, (begin, end) in enumerate(pairwise(bounds)):
            logprob = float(found.logprobs[number])
            token = {"id": int(found.tokens[number]), "text": output.text[begin:end], "logprob": logprob}
            entry: dict[str, Any] = {"token": {**token, "special": False}}
            if self.wanted.top_n_tokens:
                tops = zip(found.top_ids[number].tolist(), found.top_logprobs[number].tolist(), strict=True)
                entry["top_tokens"] = [
                    {"id": top, "text": shown(top), "logprob": value, "special": False} for top, value in tops
                ]
            tokens.append(entry)
        return tokens


TEXT_GENERATION = HuggingFaceTask("text-generation", TextGenerationParameters, _answer, _NAMES, has_streams=True)
