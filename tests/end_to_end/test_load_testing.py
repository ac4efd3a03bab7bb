"""docs/load-testing.md: aiperf, as it is installed from the package index, measures the server."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.real_server import real_server

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "load-testing.md"


@pytest.mark.slow  # installs 1.2 GB
def test_aiperf_measures_the_server_with_the_command_of_the_document(tmp_path: Path) -> None:
    found = re.search(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    with real_server(ROOT / "artifacts", "--models", "shakespeare-char", log=tmp_path / "log") as server:
        commands = found[1].replace("http://127.0.0.1:8000", server.url)
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        run = subprocess.run(
            ["bash", "-ec", commands],
            cwd=tmp_path,
            env={**environment, "RNNSERVE": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    said = re.sub(r"\s+", " ", run.stdout)
    assert re.search(r"Time to First Token \(ms\) │ [\d.,]+", said)
    assert re.search(r"Request Count \(requests\) │ 200\.00", said)
    assert re.search(r"Request Error Rate \(%\) │ 0\.00", said)
