"""Backends by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.errors import BundleNotFoundError, ConfigError
from models.graph_set import SETS as ALL_SETS
from runtime.opening import BACKENDS, CPU, CUDA, SETS, open_set, why_unavailable
from tests.tiny_models import tiny_bundle

Built = Callable[..., Bundle]


def test_every_graph_set_has_a_backend_and_the_cpu_is_always_here() -> None:
    assert {name for sets in SETS.values() for name in sets} == set(ALL_SETS)
    assert BACKENDS[-1] == CPU
    assert why_unavailable(CPU) is None


@pytest.mark.parametrize("task", ["generation", "translation", "sentiment"])
@pytest.mark.parametrize("set_name", SETS[CPU])
def test_the_cpu_opens_the_graphs_that_are_served(built_bundle: Built, task: str, set_name: str) -> None:
    bundle = built_bundle("gru", task)
    opened = open_set(CPU, bundle, set_name)
    assert opened.graph_set.name == set_name
    assert opened.max_length is None
    if task == "generation":
        assert opened.steps(4).capacity == 4
    elif task == "translation":
        assert opened.attention_steps(4).capacity == 4


def test_a_set_that_a_backend_does_not_run_is_refused_with_those_that_do(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, "gru")
    for backend, name in ((CPU, "gpu-fp16"), (CUDA, "int8"), ("abacus", "fp32"), (CPU, "fp8")):
        with pytest.raises(
            ConfigError, match=rf"Backend '{backend}' does not run graph set '{name}'\. .* tensorrt runs"
        ):
            open_set(backend, bundle, name)
    with pytest.raises(BundleNotFoundError, match="has no graph set gpu-fp32"):
        open_set(CUDA, bundle, "gpu-fp32")


@pytest.mark.parametrize("backend", [name for name in BACKENDS if why_unavailable(name) is not None])
def test_a_backend_that_is_not_here_is_one_sentence(backend: str) -> None:
    reason = why_unavailable(backend)
    assert reason is not None
    assert reason.strip() == reason
    assert "\n" not in reason
    assert "nstall" in reason
