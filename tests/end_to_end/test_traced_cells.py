"""Cells that have no ONNX operator, from a recipe to the endpoint: trained, exported, verified, served by `decode`."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from export.trace.reference import with_weights
from models.bundle import Bundle
from models.cells import TRACED_KINDS
from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from tests.end_to_end.real_server import RealServer, real_server
from tests.forked import Program

OVERRIDES = ("epochs=1", "model.hidden_size=32", "data.max_characters=20000")
PROMPTS = ("The ", "def ", "import this")
NUM_TOKENS = 24


@torch.no_grad()
def greedy(bundle: Bundle, prompt: str) -> str:
    """PyTorch's own likeliest text, the whole of it read anew for each token."""
    assert isinstance(bundle.config, LanguageModelConfig)
    model = with_weights(LanguageModel(bundle.config), bundle)
    ids = bundle.tokenizer.encode(prompt)
    for _ in range(NUM_TOKENS):
        logits, _ = model(torch.tensor([ids]), model.recurrent.zero_state(1), torch.tensor([len(ids)]))
        first, second = logits[0, -1].topk(2).values
        assert first - second > 1e-4, "a tie: either token is right, so take another prompt for the test"
        ids.append(int(logits[0, -1].argmax()))
    return bundle.tokenizer.decode(ids[-NUM_TOKENS:])


def steps_a_call(server: RealServer) -> float:
    """Of the calls that generate: how many steps each has computed, in the mean."""
    text = server.client.get("/metrics").text
    steps, calls = (
        float(re.findall(rf"^{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)[0])
        for name in ("rnnserve_row_steps_total", "rnnserve_step_duration_seconds_count")
    )
    return steps / calls


LONG = ("min-gru",)  # like the others, so left to the long run


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in LONG else ()) for kind in TRACED_KINDS]
)
def test_a_recipe_gives_a_served_model_that_writes_what_pytorch_does(
    program: Program, tmp_path: Path, kind: str
) -> None:
    def printed(*arguments: str) -> str:
        done = program(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    places = [f"store={tmp_path / 'store'}", f"run_dir={tmp_path / 'run'}", f"model.kind={kind}"]
    lines = printed("training", "run", "training/recipes/builtin-tiny.yaml", *places, *OVERRIDES).splitlines()
    bundle = Bundle(Path(lines[-1]))
    printed("export", "build", str(bundle.path), "--set", "fp32")  # publishes what verification has passed
    assert bundle.graph_set("fp32").manifest.parity["rows_changed_by_decode"] == 0
    expected = [greedy(bundle, prompt) for prompt in PROMPTS]

    with real_server(tmp_path / "store", log=tmp_path / "log") as server:

        def answer(prompt: str, **fields: Any) -> str:
            body = {"prompt": prompt, "max_tokens": NUM_TOKENS, "temperature": 0, **fields}
            found = server.client.post("/v1/generate", json=body)
            assert found.status_code == 200, found.text
            return str(found.json()["choices"][0]["text"])

        assert [answer(prompt) for prompt in PROMPTS] == expected
        assert steps_a_call(server) > 1  # one client alone, so each further step of a call is one of its window
        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(answer, PROMPTS * 8)) == expected * 8
        drawn = {"temperature": 0.8, "top_k": 5, "seed": 3}
        assert answer(PROMPTS[0], **drawn) == answer(PROMPTS[0], **drawn)
