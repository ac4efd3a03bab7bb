"""docs/api.md's examples, run against the shipped models."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.real_server import RealServer, real_server

ADMIN_KEY = "an operator's key"
DOCUMENT = Path("docs/api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    log = tmp_path_factory.mktemp("api") / "log"
    environment = {
        "RNNSERVE_DEFAULT_GENERATION": "shakespeare-char",
        "RNNSERVE_DEFAULT_SENTIMENT": "sentiment-en",
        "RNNSERVE_ADMIN_KEY": ADMIN_KEY,
    }
    with real_server(Path("artifacts"), log=log, environment=environment) as running:
        yield running


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, server: RealServer) -> None:
    text = example.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    environment = {**os.environ, "RNNSERVE_ADMIN_KEY": ADMIN_KEY}
    done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2


def test_a_scored_text_is_as_likely_as_the_model_found_it_when_it_wrote_it(server: RealServer) -> None:
    """Of the real model, whose `decode` chose the tokens and whose `step` scores them: the same bits."""
    body = {"prompt": "ROMEO:", "max_tokens": 60, "min_tokens": 60, "seed": 2, "logprobs": 1}
    made = server.client.post("/v1/generate", json=body).json()["choices"][0]
    scoring = {"prompt": "ROMEO:" + made["text"], "max_tokens": 0, "echo": True, "logprobs": 1}
    scored = server.client.post("/v1/completions", json=scoring).json()["choices"][0]["logprobs"]
    assert scored["tokens"][-60:] == made["logprobs"]["tokens"]
    assert scored["token_logprobs"][-60:] == pytest.approx(made["logprobs"]["token_logprobs"], abs=1e-5)
