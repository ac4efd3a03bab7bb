"""Many clients at once on a running server: `make load`, or `locust --locustfile loadtest/locustfile.py` for its page.

Before the load begins every question is asked once alone. Under load each answer is checked (loadtest/answers.py), and
on a CPU it must be the answer that was given alone. A request that fails, and an answer that is wrong, make Locust end
with exit code 1. Kinds of question that the server has no model for are left out, with a sentence.
"""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from locust import HttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.clients import ResponseContextManager
from locust.env import Environment

from loadtest.answers import WrongAnswerError, checked, joined
from loadtest.questions import KINDS, Kind, Question, questions_from, read_texts

TEXTS = Path(__file__).parent / "texts.json"


def add_options(parser: LocustArgumentParser) -> None:
    """Add our own option to Locust's."""
    parser.add_argument("--texts", type=Path, default=TEXTS, help="File of prompts and sentences (texts.json).")


def look_at_the_server(environment: Environment, **_: Any) -> None:
    """Find what is served, and ask everything once alone. Ends the program when that does not work."""
    if not environment.host:
        sys.exit("Say which server: --host http://127.0.0.1:8000")
    texts = environment.parsed_options.texts if environment.parsed_options else TEXTS
    with requests.Session() as session:
        try:
            models = session.get(f"{environment.host}/v1/models", timeout=30).json()["data"]
            questions = questions_from(models, read_texts(texts))
            answers = [
                (question, _alone(session, environment.host, question))
                for kind in KINDS
                for question in questions[kind]
            ]
        except (requests.RequestException, ValueError, KeyError, OSError, WrongAnswerError) as error:
            sys.exit(
                f"{environment.host} does not answer as it should when asked alone: {type(error).__name__}: {error}"
            )
    for kind in KINDS:
        if not questions[kind]:
            print(f"Left out: {kind}. {environment.host} has no model for it, or there are no texts in its language.")
    if not answers:
        sys.exit(f"{environment.host} has no model that could be asked.")
    Client.questions = questions
    Client.alone = {id(question): answer for question, answer in answers if question.is_repeatable}
    Client.tasks = [method for method in Client.tasks if questions[_kind_of(method)]]


def refuse_an_empty_run(environment: Environment, **_: Any) -> None:
    """A run without a single answer is not a success."""
    if environment.stats.total.num_requests == 0:
        print("No request was answered.")
        environment.process_exit_code = 1


class Client(HttpUser):
    """Asks one question after another, without a pause."""

    wait_time = constant(0)
    questions: dict[Kind, list[Question]]
    alone: dict[int, Any]  # by the question's id()

    @task
    def generate(self) -> None:
        """A continuation, whole."""
        self._ask("generate")

    @task
    def generate_streamed(self) -> None:
        """A continuation as a stream; the time to its first text is a line of its own in the report."""
        self._ask("generate streamed")

    @task
    def translate(self) -> None:
        """A translation with the default beam."""
        self._ask("translate")

    @task
    def sentiment(self) -> None:
        """A label."""
        self._ask("sentiment")

    def _ask(self, kind: Kind) -> None:
        question = random.choice(self.questions[kind])
        name = f"{kind} ({question.model})"
        start = time.perf_counter()
        with self.client.post(
            question.path, json=question.body, name=name, stream="stream" in question.body, catch_response=True
        ) as response:
            try:
                found = checked(question, self._answer(response, question, start))
                alone = self.alone.get(id(question), found)
                if found != alone:
                    raise WrongAnswerError(f"alone {ascii(alone)[:200]}, under load {ascii(found)[:200]}")
            except (requests.RequestException, ValueError, LookupError, TypeError, WrongAnswerError) as error:
                response.failure(f"{type(error).__name__}: {error}")

    def _answer(self, response: ResponseContextManager, question: Question, start: float) -> Any:
        """The answer as one object; of a stream, with the times that Locust does not take itself."""
        _check_status(response)
        if "stream" not in question.body:
            return response.json()
        answer = joined(self._with_first_token(_events(response), question, start))
        times: dict[str, Any] = response.request_meta  # type: ignore[assignment]
        times["response_time"] = (time.perf_counter() - start) * 1000
        return answer

    def _with_first_token(self, stream: Iterator[str], question: Question, start: float) -> Iterator[str]:
        """The events as they are; the first one is reported as a request of its own, "first token"."""
        for number, event in enumerate(stream):
            if number == 0:
                self.environment.events.request.fire(
                    request_type="STREAM",
                    name=f"first token ({question.model})",
                    response_time=(time.perf_counter() - start) * 1000,
                    response_length=len(event),
                    exception=None,
                    context={},
                )
            yield event


def _kind_of(method: Any) -> Kind:
    kind: Kind = method.__name__.replace("_", " ")
    return kind


def _alone(session: requests.Session, host: str, question: Question) -> Any:
    with session.post(host + question.path, json=question.body, stream=True, timeout=60) as response:
        _check_status(response)
        return checked(question, joined(_events(response)) if "stream" in question.body else response.json())


def _check_status(response: requests.Response) -> None:
    if response.status_code != 200:
        reason = getattr(response, "error", None) or response.text
        raise WrongAnswerError(f"status {response.status_code}: {str(reason)[:300]}")


def _events(response: requests.Response) -> Iterator[str]:
    """The events of a stream as they come, without "data: "."""
    for line in response.iter_lines(chunk_size=None):  # type: ignore[call-overload]  # None: as they arrive
        if line:
            yield line.decode().removeprefix("data: ")


for hook, listener in (
    (events.init_command_line_parser, add_options),
    (events.init, look_at_the_server),
    (events.quitting, refuse_an_empty_run),
):
    hook.add_listener(listener)  # type: ignore[no-untyped-call]
