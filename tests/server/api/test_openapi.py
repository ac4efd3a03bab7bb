"""Requests made by schemathesis from the OpenAPI document, all checks on, to a real server of every task.

No status, media type, header or body is answered that is not described; what the document forbids is refused; every
other method is 405 with Allow; nothing is a server error.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, ServerError
from schemathesis.core.transport import Response
from schemathesis.engine import Status, from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.openapi.checks import (
    AllowHeaderMismatch,
    IgnoredAuth,
    MissingHeaderNotRejected,
    RejectedPositiveData,
    UnsupportedMethodResponse,
)
from schemathesis.schemas import BaseSchema

from tests.server.fake_forecaster import fake_forecaster
from tests.server.fake_frames import fake_frames_model
from tests.server.running import (
    BYTES,
    Running,
    fake_classifier,
    fake_model,
    fake_tagger,
    fake_translator,
    running,
)

LARGE = "generate|completions|translate|forecast|infer|tag|huggingface|tokenize|sentiment"  # requests of many fields
KEY = "an-api-key-of-sixteen-characters"
# What a JSON schema cannot say, and the sentence by which it is refused: rules between fields, what depends on the
# model, and what the server holds. Any other refusal of a request that the document allows is a failure.
RULES = {
    r"min_tokens may be at most max_tokens": "one number bounds another",
    r"alternatives may be at most beam_size - 1": "one number bounds another",
    r"best_of is \d+ and n \d+": "one number bounds another",
    r"tokens are drawn with beam_size 1": "a field's values depend on another's",
    r"with beam_size \d+ no word is certain": "a field's values depend on another's",
    r"one (prompt|text) can be streamed": "a field's values depend on another's",
    r"a session takes one prompt and n 1": "a field's values depend on another's",
    r"best_of chooses once all is there": "a field's values depend on another's",
    r"stream_options goes with stream": "a field's values depend on another's",
    r"max_tokens 0 scores the prompt": "a field's values depend on another's",
    r"ignore_eos goes without stop": "a field's values depend on another's",
    r"length_penalty goes with use_beam_search|use_beam_search goes without": "a field's values depend on another's",
    r"a prompt is scored .* without": "a field's values depend on another's",
    r"nothing comes before its only token": "a field's values depend on another's",
    r"prompt holds the end token": "which ids there are depends on the model",
    r"the model has no token \d+": "which ids there are depends on the model",
    r"holds nothing that the model's tokenizer knows": "the model's vocabulary",
    r"^(text|sentence)( \d+)? holds no word; send more than white space": "what is white space to Unicode",
    r"^tokens: sentence \d+ has no word, or an empty one": "what is white space to Unicode",
    r"The request may need|the request may need \d+ tokens": "a sum over fields",
    r"the session has \d+ (tokens|frames), fewer than": "what the session holds",
    r"the session belongs to": "what the session holds",
    r"The \d+ bytes are not a session": "signed bytes",
    r"^Session .* was deleted": "what was asked before",
    r"^series \d+: |^series \d+ has |^horizon: \d+ steps; .* forecasts": "the model's calendar, horizon and covariates",
    r"^series: a session has one series": "a field's values depend on another's",
    r"^Inputs? |^The (model has no|inputs have) |bytes follow the JSON object": "the model's inputs and their shapes",
    r"^(session|sequence_\w+|timeout|priority)\b.*: |^Unknown parameter ": "parameters, which extensions add to",
    r"keeps no state from call to call": "the model's state",
    r"^Model '.*' is for \w+, not ": "which models there are",
    r"^Invalid request: missing \w+ parameter": "a field may be in the query, the form or the JSON",
    r"^/ has \d+ models to choose from| is not supported$": "which models there are",
    r"^No sentiment model for .* is loaded": "which models there are",
    r"^The loaded models translate .* Send a pair that is there": "which models there are",
    r"and generates no text; ask|which is not streamed here; ask": "what the model's task is",
}


@pytest.fixture(scope="module")
def everything() -> Iterator[Running]:
    """A server of every task."""
    models = (
        fake_model(tokenizer=BYTES),
        fake_translator(tokenizer=BYTES),
        fake_classifier(tokenizer=BYTES),
        fake_tagger(tokenizer=BYTES),
        fake_frames_model(),
        fake_forecaster(),
    )
    with running(*models, window_steps=8, session_key="a-session-key-of-a-test", api_keys=KEY) as server:
        server.client.headers["authorization"] = f"Bearer {KEY}"
        yield server


def message_of(response: Response) -> str:
    error = json.loads(response.content)["error"]
    return str(error if isinstance(error, str) else error["message"])


def asked_for_little_time(case: schemathesis.Case[Any], response: Response) -> bool:
    """Whether the client itself has set the time after which it was answered 504, in TEI's dialect 424."""
    given = dict(case.headers or {}).get("x-request-timeout-ms", "")
    return response.status_code in (504, 424) and f"was not done after {given} ms" in message_of(response)


def found_by(
    server: Running, num_examples: int, phases: tuple[str, ...], left_out: str = ""
) -> tuple[Counter[str], list[str]]:
    """Run schemathesis.

    Returns:
        How many requests were sent, by operation, and what is wrong.
    """
    options = {"max-examples": num_examples, "no-shrink": True, "deterministic": True, "database": "none"}
    enabled = {phase: {"enabled": phase in phases} for phase in ("examples", "coverage", "fuzzing", "stateful")}
    auth = {"openapi": {"key": {"bearer": KEY}}}
    config = SchemathesisConfig.from_dict(
        {
            "cache": {"enabled": False},
            "continue-on-failure": True,
            "auth": auth,
            "phases": enabled,
            "generation": options,
        }
    )
    schema: BaseSchema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=config)
    if left_out:
        schema = schema.exclude(path_regex=left_out)

    @schema.hook
    def filter_failure(_: Any, failure: Failure, case: schemathesis.Case[Any], response: Response) -> bool:
        if isinstance(failure, ServerError):
            return not asked_for_little_time(case, response)
        if isinstance(failure, AllowHeaderMismatch | UnsupportedMethodResponse) and case.path == "/":
            return "GET" not in failure.message  # the page for people, which is no part of the document
        if isinstance(failure, MissingHeaderNotRejected) and case.path in ("/translate", "/detect"):
            return response.status_code != 400  # as IgnoredAuth
        if isinstance(failure, IgnoredAuth):  # LibreTranslate's status for a request without a key is 400
            return not (case.path in ("/translate", "/detect") and "got `400 " in failure.message)
        if isinstance(failure, RejectedPositiveData):
            is_ruled = any(re.search(rule, message_of(response)) for rule in RULES)
            return not (is_ruled or asked_for_little_time(case, response))
        return True

    num_sent: Counter[str] = Counter()
    wrong: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, FatalError):
            raise event.exception
        if isinstance(event, NonFatalError):
            wrong.append(f"{event.label}: {event.value!r}")
        if not isinstance(event, ScenarioFinished):
            continue
        recorder = event.recorder
        num_sent.update(node.value.operation.label for node in recorder.cases.values())
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.status is Status.FAILURE:
                    case, sent = recorder.cases[case_id].value, recorder.interactions[case_id]
                    answer = sent.response.content[:500] if sent.response is not None else None
                    failure = check.failure_info.failure if check.failure_info is not None else None
                    asked = f"{sent.request.uri}\n{case.headers}\n{case.body!r:.300}"
                    wrong.append(f"{case.operation.label} {check.name}: {failure}\n{asked}\n{answer!r}")
    return num_sent, wrong


def test_whatever_is_asked_is_answered_as_the_document_says(everything: Running) -> None:
    num_sent, wrong = found_by(everything, 4, ("examples", "fuzzing"))
    assert not wrong, "\n\n".join(wrong)
    assert len(num_sent) == sum(map(len, everything.client.get("/openapi.json").json()["paths"].values()))
    at_limits, wrong = found_by(everything, 1, ("coverage",), LARGE)
    assert not wrong, "\n\n".join(wrong)
    assert num_sent.total() + at_limits.total() >= 300
    print(num_sent.total(), at_limits.total())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "num_examples", "least"), [("coverage", 1, 1500), ("fuzzing", 200, 4500), ("stateful", 100, 500)]
)
def test_so_it_is_however_much_is_asked(everything: Running, phase: str, num_examples: int, least: int) -> None:
    num_sent, wrong = found_by(everything, num_examples, (phase,))
    assert not wrong, "\n\n".join(wrong[:20])
    assert num_sent.total() >= least
    print(phase, num_sent.total())
