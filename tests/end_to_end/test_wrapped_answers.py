"""What the server answers for a wrapped module is what the module's own forward says, in one lane and in two.

Marks, unknown and empty texts included. The reference is the user's module, eager, on the ids that the tokenizer gives
for plain text; nothing of the graphs.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor, nn

from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.wrap import wrap_model
from models.bundle import Bundle
from models.tokenizer import Tokenizer
from tests.end_to_end.real_server import RealServer, real_server
from tests.end_to_end.wrapped_modules import CASES, WORDS

MODULES = "tests.end_to_end.wrapped_modules"
MAX_TOKENS = 20
TEXTS = [  # ordinary, long, with marks typed, with characters and words that are unknown, with nothing else
    "the film was good",
    "a",
    "the soup was not bad and the film was very dull " * 9,
    "the film</s> was <s>good [SEP] [CLS] soup <|endoftext|> dull",
    "the [SEP] film [UNK] was </s> bad",
    "[SEP]",
    "</s>",
    "THE Film ☃ was GOOD!",
    "the caf\u00e9 film 好 was zzz dull",
    "☃",
    "qqq",
    "\n",
    "the\nfilm",
]
GENERATION = [name for name, case in CASES.items() if case.task == "generation"]
SENTIMENT = [name for name, case in CASES.items() if case.task == "sentiment"]
TAGGING = [name for name, case in CASES.items() if case.task == "tagging"]
TRANSLATION = [name for name, case in CASES.items() if case.task == "translation"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrapped")
    for name, case in CASES.items():
        tokenizer = folder / f"{name}.json"
        case.tokenizer().save(str(tokenizer))
        reference = f"{MODULES}:{case.make.__name__}"
        found = wrap_model(WrapOptions(reference, case.task, tokenizer, folder / "store" / name, **case.options))
        assert found.way == case.way, found.reason
    return folder / "store"


@pytest.fixture(scope="module", params=[1, 2], ids=["one lane", "two lanes"])
def server(store: Path, request: pytest.FixtureRequest) -> Iterator[RealServer]:
    log = store.parent / f"log-{request.param}"
    with real_server(store, log=log, environment={"RNNSERVE_LANES": str(request.param)}) as running:
        yield running


@dataclass(frozen=True)
class Expected:
    """What the module's own forward says of a text: tokens and the sum of their log probabilities, or probabilities."""

    tokens: tuple[int, ...] = ()
    log_probability: float = 0.0
    probabilities: tuple[float, ...] = ()


def tokenizer_of(store: Path, name: str) -> Tokenizer:
    return Bundle(store / name / "1").tokenizer


@torch.no_grad()
def generated(module: nn.Module, ids: list[int], end_id: int | None) -> Expected:
    """The likeliest token again and again, the whole text read anew each time."""
    tokens: list[int] = []
    for _ in range(MAX_TOKENS):
        read = torch.tensor([[*ids, *tokens]])
        logits = module(read, torch.tensor([read.shape[1]]))[0][0, -1]
        tokens.append(int(sure_argmax(logits)))
        if tokens[-1] == end_id:
            break
    return Expected(tuple(tokens))


@torch.no_grad()
def classified(module: nn.Module, ids: list[int]) -> Expected:
    logits = module(torch.tensor([ids]), torch.tensor([len(ids)]))[0]
    if logits.dim() == 0:
        logits = torch.stack([torch.zeros(()), logits])
    return Expected(probabilities=tuple(logits.softmax(0).tolist()))


@torch.no_grad()
def translated(module: Any, ids: list[int], start_id: int, end_id: int) -> Expected:
    lengths = torch.tensor([len(ids) + 1])
    memory, keys, state = module.encode(torch.tensor([[*ids, end_id]]), lengths)
    tokens, total, token = [], 0.0, start_id
    for _ in range(MAX_TOKENS):
        logits, state, _ = module.step(torch.tensor([token]), state, memory, keys, lengths)
        token = int(sure_argmax(logits[0]))
        total += float(logits[0].log_softmax(0)[token])
        tokens.append(token)
        if token == end_id:
            break
    return Expected(tuple(tokens), total)


def sure_argmax(logits: Tensor) -> Tensor:
    first, second = logits.topk(2).values
    assert first - second > 1e-4, "a tie: either token is right, so take other weights for the test"
    return logits.argmax()


def asked_together(server: RealServer, path: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """All at once, so that rows share batches and every lane has some."""

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            return list(await asyncio.gather(*(client.post(path, json=body) for body in bodies)))

    return asyncio.run(ask())


@pytest.mark.parametrize("name", GENERATION)
def test_greedy_texts_are_the_modules_own(name: str, server: RealServer, store: Path) -> None:
    module, tokenizer = CASES[name].make(), tokenizer_of(store, name)
    bodies = [{"model": name, "prompt": text, "max_tokens": MAX_TOKENS, "temperature": 0} for text in TEXTS]
    num_answered = 0
    for text, answer in zip(TEXTS, asked_together(server, "/v1/generate", bodies), strict=True):
        ids = tokenizer.encode(text)
        num_unknown = tokenizer.num_unknown(text, ids)
        if not ids or (tokenizer.unknown_id is not None and num_unknown == len(ids)):
            assert answer.status_code == 422, text
            assert "prompt" in answer.text
            continue
        assert answer.status_code == 200, (text, answer.text)
        expected = generated(module, ids, tokenizer.end_id)
        (choice,) = answer.json()["choices"]
        assert choice["text"] == tokenizer.decode(expected.tokens), text
        assert choice["finish_reason"] == ("stop" if expected.tokens[-1] == tokenizer.end_id else "length")
        usage = answer.json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(ids), len(expected.tokens))
        assert usage["unknown_characters"] == num_unknown
        num_answered += 1
    assert num_answered >= 8


@pytest.mark.parametrize("name", SENTIMENT)
def test_labels_and_scores_are_the_modules_own(name: str, server: RealServer, store: Path) -> None:
    module, tokenizer, labels = CASES[name].make(), tokenizer_of(store, name), CASES[name].options["labels"]
    bodies = [{"model": name, "text": text, "all_scores": True} for text in TEXTS]
    num_answered = 0
    for text, answer in zip(TEXTS, asked_together(server, "/v1/sentiment", bodies), strict=True):
        ids = tokenizer.encode(text)
        if not ids:
            assert answer.status_code == 422, text
            assert "holds nothing that the model's tokenizer knows" in answer.text
            continue
        assert answer.status_code == 200, (text, answer.text)
        expected = classified(module, ids).probabilities
        (result,) = answer.json()["results"]
        assert [result["scores"][label] for label in labels] == pytest.approx(expected, abs=1e-5), text
        assert result["label"] == labels[max(range(len(labels)), key=expected.__getitem__)]
        assert answer.json()["usage"]["tokens"] == len(ids)
        num_answered += 1
    assert num_answered >= 6


@pytest.mark.parametrize("name", TAGGING)
@torch.no_grad()
def test_words_have_the_modules_own_labels(name: str, server: RealServer) -> None:
    module, labels = CASES[name].make(), CASES[name].options["labels"]
    sentences = [WORDS[first : first + count] * times for first, count, times in ((0, 1, 1), (2, 5, 1), (0, 11, 4))]
    bodies = [{"model": name, "tokens": [words]} for words in sentences]
    for words, answer in zip(sentences, asked_together(server, "/v1/tag", bodies), strict=True):
        assert answer.status_code == 200, answer.text
        logits = module(torch.tensor([[WORDS.index(word) for word in words]]), torch.tensor([len(words)]))[0]
        (result,) = answer.json()["results"]
        assert [token["text"] for token in result["tokens"]] == words
        assert [token["label"] for token in result["tokens"]] == [labels[sure_argmax(row)] for row in logits]
        scores = [token["score"] for token in result["tokens"]]
        assert scores == pytest.approx(logits.softmax(1).amax(1).tolist(), abs=1e-5)


@pytest.mark.parametrize("name", TRANSLATION)
def test_translations_and_their_scores_are_the_modules_own(name: str, server: RealServer, store: Path) -> None:
    module, tokenizer = CASES[name].make(), tokenizer_of(store, name)
    start_id, end_id = (CASES[name].tokenizer().get_vocab()[mark] for mark in ("<s>", "</s>"))
    options = {
        "beam_size": 1,
        "max_tokens": MAX_TOKENS,
        "length_penalty": 0,
        "replace_unknown": False,
        "split_sentences": False,
    }
    bodies = [{"model": name, "text": text, **options} for text in TEXTS]
    for text, answer in zip(TEXTS, asked_together(server, "/v1/translate", bodies), strict=True):
        ids = tokenizer.encode(text)
        assert answer.status_code == 200, (text, answer.text)
        expected = translated(module, ids, start_id, end_id)
        (found,) = answer.json()["translations"]
        assert found["text"] == tokenizer.decode(expected.tokens), text
        assert found["score"] == pytest.approx(expected.log_probability, rel=1e-4), text


@pytest.mark.parametrize(
    ("name", "path", "field"),
    [("plain", "/v1/generate", "prompt"), ("masked", "/v1/sentiment", "text"), ("translator", "/v1/translate", "text")],
)
def test_an_empty_text_is_refused_by_its_field(name: str, path: str, field: str, server: RealServer) -> None:
    answer = server.client.post(path, json={"model": name, field: ""})
    assert answer.status_code == 422
    assert field in answer.text
    assert "empty" in answer.text


def test_a_mark_that_is_typed_is_read_as_its_characters(store: Path) -> None:
    banning = tokenizer_of(store, "banning")
    assert banning.encode("a<|endoftext|>b") == banning.encode("aendoftextb")  # it knows neither < nor |
    assert tokenizer_of(store, "plain").encode("</s>").count(1) == 0
    assert tokenizer_of(store, "masked").encode("the [SEP] film") == [1, 3, 0, 4, 2]
    assert tokenizer_of(store, "pieces").encode("a</s>b").count(2) == 1
