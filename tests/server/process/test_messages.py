"""A request that crosses to another process is the same request, and does not carry the vocabulary along."""

import asyncio

import numpy as np

from models.decoding.continuation import Continuation
from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopStrings
from server.engine.engine import Gauges
from server.engine.generation.request import Generation
from server.engine.generation.update import Update
from server.errors import EngineError
from server.process.messages import Bulletin, Codec, Command, Letter, Verb

TEXTS = TokenTexts([bytes([65 + i % 26]) * 1000 for i in range(200)])


def request() -> Generation:
    options = GenerationOptions(stop=("AB",), logit_bias={3: 1.5}, max_tokens=7)
    generation = Generation(options, 11, is_streamed=True)
    generation.add_prompt([1, 2, 3], [Continuation(TEXTS, options, StopStrings(options.stop), 5, "echo")])
    return generation


def test_a_request_refers_to_the_texts_of_its_new_process() -> None:
    here, there = Codec(TEXTS), Codec(TokenTexts([b"x"] * 200))
    data = here.encode(Command(Verb.ADD, 3, request()))
    assert len(data) < 3000, "the token texts went along"
    command = there.decode(data)
    (prompt,) = command.request.prompts
    assert (command.verb, command.number, prompt.generation) == (Verb.ADD, 3, command.request)
    assert prompt.tokens.tolist() == [1, 2, 3]
    (continuation,) = prompt.continuations
    assert not continuation.extend([9])
    assert continuation.take() == "echox", "its own process's text of token 9"


def test_a_mailbox_stays_where_it_is() -> None:
    async def left_behind() -> None:
        generation = request()
        generation.mailbox.put(Update(0, "a", None, None, 1))
        copy = Codec(TEXTS).decode(Codec(TEXTS).encode(generation))
        copy.mailbox.put(Update(0, "b", None, None, 1))
        assert [update.text for update in await generation.mailbox.take()] == ["a"]
        assert [update.text for update in await copy.mailbox.take()] == ["b"]

    asyncio.run(left_behind())


def test_news_arrive_with_what_else_is_known() -> None:
    ours, theirs = request(), request()
    theirs.prompts[0].keeps_state = True
    theirs.prompts[0].last_state = np.arange(3, dtype=np.float32)
    theirs.prompts[0].continuations[0].extend([2])
    theirs.num_cached, theirs.times.began = 2, 1.25
    error = EngineError("It failed.")
    bulletin = Bulletin([Letter(1, error, theirs.report())], [("stepped", (4, 0.5))], Gauges(1, 2, 3, 4))
    found = Codec(TEXTS).decode(Codec(TEXTS).encode(bulletin))
    (letter,) = found.letters
    assert (letter.item.message, letter.item.code, letter.item.status) == ("It failed.", "engine_failed", 500)
    assert (found.notes, found.gauges) == (bulletin.notes, bulletin.gauges)
    ours.heed(letter.report)
    (prompt,) = ours.prompts
    assert (ours.num_cached, ours.times.began) == (2, 1.25)
    assert prompt.last_state is not None
    assert prompt.last_state.tolist() == [0, 1, 2]
    assert prompt.continuations[0].whole_tokens() == [2]
