"""The answer does not depend on the rest of the batch, over HTTP: the same bytes alone and among all others, in any
order, while clients leave, with the prefix cache and without, in windows of any length, in one lane or several, in fp32
and int8, for all tasks and cell kinds."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.build import build_sets
from models.bundle import Bundle
from models.cells import CELL_KINDS
from tests.end_to_end.mixed_requests import Exchange, Models, all_at_once, mixed_exchanges, one_by_one
from tests.end_to_end.real_server import real_server

SHIPPED = Models(["shakespeare-char"], ["translate-en-zh"], ["sentiment-en", "sentiment-zh"])
NO_CACHE, CACHE = "0", str(64 << 20)


def environment(number: int, cache_bytes: str, lanes: int, window_steps: int) -> dict[str, str]:
    """Room for all at once, and time."""
    return {
        "RNNSERVE_MAX_REQUESTS": str(number),
        "RNNSERVE_REQUEST_TIMEOUT_MS": "600000",
        "RNNSERVE_PREFIX_CACHE_BYTES": cache_bytes,
        "RNNSERVE_LANES": str(lanes),
        "RNNSERVE_WINDOW_STEPS": str(window_steps),
    }


def same(alone: list[list[Any]], together: list[list[Any]], exchanges: list[Exchange]) -> None:
    for exchange, one, other in zip(exchanges, alone, together, strict=True):
        assert one == other, exchange


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_300_mixed_requests_are_answered_the_same_alone_and_all_at_once(
    built_bundle: Callable[..., Bundle], set_name: str, tmp_path: Path
) -> None:
    """Every cell kind; alone in one lane and windows of one step without the cache, together in two lanes with it."""
    bundles = [built_bundle(kind) for kind in CELL_KINDS]
    bundles += [built_bundle("lstm", "translation"), built_bundle("gru", "sentiment", pooling="attention")]
    *generation, translation, sentiment = (bundle.id for bundle in bundles)
    models = Models(generation, [translation], [sentiment])
    exchanges, leaving = mixed_exchanges(300, models, seed=11), mixed_exchanges(60, models, seed=12)
    arguments = ("--set", set_name, "--models", ",".join([*generation, translation, sentiment]))
    store, most = bundles[0].path.parent.parent, len(exchanges) + len(leaving)
    with real_server(store, *arguments, log=tmp_path / "log", environment=environment(most, NO_CACHE, 1, 1)) as server:
        alone = asyncio.run(one_by_one(server.url, exchanges))
    with real_server(store, *arguments, log=tmp_path / "log", environment=environment(most, CACHE, 2, 8)) as server:
        together, num_left = asyncio.run(all_at_once(server.url, exchanges, leaving, seed=13))
    same(alone, together, exchanges)
    assert num_left > 10


@pytest.fixture(scope="module")
def shipped_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models, with the fp32 sets that are not in the repository."""
    store = tmp_path_factory.mktemp("shipped")
    for name in (*SHIPPED.generation, *SHIPPED.translation, *SHIPPED.sentiment):
        shutil.copytree(Path("artifacts") / name / "1", store / name / "1")
        build_sets(Bundle(store / name / "1"), ["fp32"])
    return store


@pytest.mark.slow
@pytest.mark.parametrize("cache_bytes", [NO_CACHE, CACHE], ids=["without cache", "with cache"])
@pytest.mark.parametrize("set_name", ["fp32", "int8"])
def test_1000_mixed_requests_to_the_shipped_models_are_answered_the_same_alone_and_all_at_once(
    shipped_store: Path, set_name: str, cache_bytes: str, tmp_path: Path
) -> None:
    """Together four times, in another order, with other lanes and windows."""
    exchanges, leaving = mixed_exchanges(1000, SHIPPED, seed=21), mixed_exchanges(150, SHIPPED, seed=22)
    most = len(exchanges) + len(leaving)
    alone: list[list[Any]] = []
    for seed, (lanes, window_steps) in enumerate(((1, 1), (2, 8), (1, 4), (2, 2)), 23):
        environment_ = environment(most, cache_bytes, lanes, window_steps)
        with real_server(shipped_store, "--set", set_name, log=tmp_path / "log", environment=environment_) as server:
            alone = alone or asyncio.run(one_by_one(server.url, exchanges))
            together, num_left = asyncio.run(all_at_once(server.url, exchanges, leaving, seed))
        same(alone, together, exchanges)
        assert num_left > 20
