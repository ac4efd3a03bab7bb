"""The answer does not depend on the rest of the batch, over HTTP: the same bytes alone and among all others, in any
order, while clients leave, with the prefix cache and without, in windows of any length, in one lane or several, in fp32
and int8, for all tasks and cell kinds, and beside rows whose numbers are not finite."""

import asyncio
import itertools
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pytest

from export.build import build_sets
from models.bundle import Bundle
from models.cells import CELL_KINDS
from tests.end_to_end.broken_models import HALF, INFINITE, NAN, NOTHING, STATE, break_bundle
from tests.end_to_end.mixed_requests import Exchange, Models, all_at_once, is_error, mixed_exchanges, one_by_one
from tests.end_to_end.real_server import RealServer, real_server
from tests.tiny_models import tiny_bundle

SHIPPED = Models(["shakespeare-char"], ["translate-en-zh"], ["sentiment-en", "sentiment-zh"])
BROKEN = NAN + INFINITE + NOTHING + HALF + STATE
STEPS = (1, 2, 4, 8, None)
SERVER = (sys.executable, "-m", "server")
RANDOM_WINDOWS = (sys.executable, "-m", "tests.end_to_end.random_windows")


@dataclass(frozen=True)
class Setting:
    """How a server is run, and asked.

    Attributes:
        steps: most of a window; None for windows of random lengths.
        lanes: of each model.
        has_cache: whether it keeps states of prompts.
        set_name: the graph set.
        some_leave: whether clients leave in the middle of their answers.
    """

    steps: int | None
    lanes: int
    has_cache: bool
    set_name: str
    some_leave: bool


def alone(set_name: str) -> Setting:
    """How the reference is made."""
    return Setting(1, 1, False, set_name, False)


def all_settings() -> list[Setting]:
    """Ten, among which there is every pair of values."""
    rows = [(0, 0, 0, 1), (0, 1, 1, 0), (1, 1, 0, 0), (1, 0, 1, 1), (0, 1, 0, 1)]
    rows += [tuple(1 - value for value in row) for row in rows]  # type: ignore[misc]
    return [
        Setting(steps, 1 + lanes, bool(cache), ("fp32", "int8")[is_int8], bool(leave))
        for steps, (lanes, cache, is_int8, leave) in zip(STEPS * 2, rows, strict=True)
    ]


SOME_SETTINGS = (
    Setting(8, 2, True, "int8", True),
    Setting(None, 1, False, "int8", False),
    Setting(None, 2, True, "fp32", True),
)


def test_among_all_settings_there_is_every_pair_of_values() -> None:
    settings = [astuple(setting) for setting in all_settings()]
    values = [STEPS, (1, 2), (False, True), ("fp32", "int8"), (False, True)]
    for i, j in itertools.combinations(range(len(values)), 2):
        assert {(row[i], row[j]) for row in settings} == set(itertools.product(values[i], values[j]))


def served(store: Path, models: Models, setting: Setting, num_clients: int, log: Path) -> Any:
    """A server with room for all at once, and time."""
    environment = {
        "OMP_NUM_THREADS": "1",
        "RNNSERVE_MAX_REQUESTS": str(num_clients),
        "RNNSERVE_REQUEST_TIMEOUT_MS": "600000",
        "RNNSERVE_PREFIX_CACHE_BYTES": str(64 << 20) if setting.has_cache else "0",
        "RNNSERVE_LANES": str(setting.lanes),
        "RNNSERVE_WINDOW_STEPS": str(setting.steps or 8),
    }
    arguments = ("--set", setting.set_name, "--models", ",".join(models.ids))
    command = RANDOM_WINDOWS if setting.steps is None else SERVER
    return real_server(store, *arguments, log=log, environment=environment, command=command)


def compare(
    store: Path, models: Models, settings: Iterable[Setting], counts: tuple[int, int], folder: Path
) -> list[list[Any]]:
    """Ask alone, then in each setting all at once while others leave; the answers of the last set's reference."""
    exchanges = mixed_exchanges(counts[0], models, seed=11)
    leaving = mixed_exchanges(counts[1], models, seed=12)
    most = sum(counts)
    expected: list[list[Any]] = []
    for set_name, group in itertools.groupby(settings, lambda setting: setting.set_name):
        with served(store, models, alone(set_name), most, folder / "log") as server:
            expected = asyncio.run(one_by_one(server.url, exchanges))
        for seed, setting in enumerate(group):
            with served(store, models, setting, most, folder / "log") as server:
                others = leaving if setting.some_leave else []
                found, num_left = asyncio.run(all_at_once(server.url, exchanges, others, seed))
                nothing_runs(server)
            same(expected, found, exchanges, setting)
            assert num_left > len(others) // 8 or not others
    return expected


def nothing_runs(server: RealServer) -> None:
    """What was answered and what was left have freed their rows."""
    for _ in range(600):
        lines = server.client.get("/metrics").text.splitlines()
        busy = [line for line in lines if line.startswith(GAUGES) and float(line.split()[-1])]
        if not busy:
            return
    raise AssertionError(busy)


GAUGES = ("rnnserve_rows_running", "rnnserve_rows_waiting")


def same(expected: list[list[Any]], found: list[list[Any]], exchanges: Sequence[Exchange], setting: Setting) -> None:
    for exchange, one, other in zip(exchanges, expected, found, strict=True):
        assert one == other, (setting, exchange)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model whose vocabulary is so wide that tokens are chosen in two levels."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("wide"), "gru", "wide", is_wide=True)
    build_sets(bundle)
    return bundle


def copied(bundle: Bundle, store: Path) -> Path:
    """A copy of a bundle in another store."""
    return shutil.copytree(bundle.path, store / bundle.path.parent.name / bundle.path.name)


def test_mixed_requests_are_answered_the_same_alone_and_all_at_once(
    built_bundle: Callable[..., Bundle], wide: Bundle, tmp_path: Path
) -> None:
    """Every cell kind, and a wide vocabulary."""
    generation = [*map(built_bundle, CELL_KINDS), wide]
    others = built_bundle("lstm", "translation"), built_bundle("gru", "sentiment", pooling="attention")
    for bundle in (*generation, *others):
        copied(bundle, tmp_path / "store")
    models = Models([bundle.id for bundle in generation], [others[0].id], [others[1].id])
    answers = compare(tmp_path / "store", models, SOME_SETTINGS, (100, 30), tmp_path)
    assert not any(map(is_error, itertools.chain(*answers)))


@pytest.fixture(scope="module")
def broken_store(
    built_bundle: Callable[..., Bundle], wide: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Models]:
    """Models some of whose tokens make numbers that are not finite."""
    store = tmp_path_factory.mktemp("broken")
    generation, translation = [built_bundle("lstm"), wide], [built_bundle("lstm", "translation")]
    for bundle in (*generation, *translation):
        break_bundle(Bundle(copied(bundle, store)), ["fp32", "int8"])
    return store, Models([item.id for item in generation], [item.id for item in translation], [], BROKEN)


def test_rows_beside_others_whose_numbers_are_not_finite_are_answered_as_alone(
    broken_store: tuple[Path, Models], tmp_path: Path
) -> None:
    """And those others fail, alone and together."""
    answers = compare(*broken_store, SOME_SETTINGS[:2], (60, 20), tmp_path)
    num_errors = sum(any(map(is_error, essences)) for essences in answers)
    assert len(answers) // 10 < num_errors < len(answers) * 4 // 5


READING = ({"RNNSERVE_LIGHT_ROWS": "0"}, {"RNNSERVE_LIGHT_ROWS": "64", "RNNSERVE_FORCED_TOKENS": "0"})


@pytest.mark.parametrize("environment", READING, ids=["by windows", "by calls"])
def test_only_logits_that_a_token_is_chosen_from_count_and_no_state_that_is_not_finite_is_kept(
    broken_store: tuple[Path, Models], environment: dict[str, str], tmp_path: Path
) -> None:
    """In fp32: a quantized network makes finite numbers of a state that is not."""
    store, models = broken_store
    arguments = ("--models", models.generation[0], "--set", "fp32")
    with real_server(store, *arguments, log=tmp_path / "log", environment=environment) as server:

        def ask(prompt: str, status: int = 200, **fields: Any) -> dict[str, Any]:
            options = {"temperature": 0, "max_tokens": 1, **fields}
            answer = server.client.post("/v1/generate", json={"prompt": prompt, **options})
            assert answer.status_code == status, answer.text
            content: dict[str, Any] = answer.json()
            assert status == 200 or "not finite" in content["error"]["message"]
            return content

        for character in (NAN, INFINITE, NOTHING):
            ask(f"ab{character}cd")
            ask(f"abcd{character}", 500)
            for options in ({"logprobs": 2}, {"presence_penalty": 1}, {"top_k": 3, "temperature": 1}, {"n": 3}):
                ask(f"ab{character}cd", **options)
                ask(f"abcd{character}", 500, **options)
        ask(f"abcd{HALF}")
        ask(f"abcd{STATE}")  # a token is chosen from these logits: those after it are not finite
        ask(f"abcd{STATE}e", 500)

        prompt = "a" * 30 + STATE + "b" * 40
        assert ask("a" * 71)["usage"]["cached_tokens"] == 0
        for _ in range(2):
            ask(prompt, 500)
        assert ask("a" * 71)["usage"]["cached_tokens"] > 0
        counts = [ask(prompt[:length])["usage"]["cached_tokens"] for length in (31, 31)]
        assert counts[1] in (0, 30), "the state after 30 tokens at most"

        session = server.client.post("/v1/sessions", json={}).json()["id"]
        ask("ab", session=session)
        ask(f"cd{STATE}", 500, session=session)
        assert server.client.get(f"/v1/sessions/{session}").json()["tokens"] == 3
        other = server.client.post("/v1/sessions", json={}).json()["id"]
        ask("ab", session=other)
        fields = {"max_tokens": 5, "min_tokens": 5}
        assert ask("c", session=session, **fields)["choices"] == ask("c", session=other, **fields)["choices"]


@pytest.mark.slow
def test_500_rows_beside_others_whose_numbers_are_not_finite_are_answered_as_alone(
    broken_store: tuple[Path, Models], tmp_path: Path
) -> None:
    settings = sorted(all_settings(), key=lambda setting: setting.set_name)
    compare(*broken_store, settings, (500, 80), tmp_path)


@pytest.fixture(scope="module")
def shipped_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models, with the fp32 sets that are not in the repository."""
    store = tmp_path_factory.mktemp("shipped")
    for name in SHIPPED.ids:
        shutil.copytree(Path("artifacts") / name / "1", store / name / "1")
        build_sets(Bundle(store / name / "1"), ["fp32"])
    return store


@pytest.mark.slow
@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_1000_mixed_requests_to_the_shipped_models_are_answered_the_same_alone_and_all_at_once(
    shipped_store: Path, set_name: str, tmp_path: Path
) -> None:
    settings = [setting for setting in all_settings() if setting.set_name == set_name]
    answers = compare(shipped_store, SHIPPED, settings, (1000, 150), tmp_path)
    assert not any(map(is_error, itertools.chain(*answers)))
