"""docs/cells.md: its example is trained, wrapped and asked as a reader would."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import onnx

from export.onnx.census import census
from models.bundle import Bundle
from tests.end_to_end.real_server import real_server
from tests.forked import Program

TEXT = (Path(__file__).parents[1] / "docs" / "cells.md").read_text(encoding="utf-8")


def test_the_documented_cell_is_trained_wrapped_and_answers(program: Program, tmp_path: Path) -> None:
    ((name, code, commands),) = re.findall(r"^`(\w+\.py)`:.*?```python\n(.*?)```\s+```sh\n(.*?)```", TEXT, re.S | re.M)
    ((question, answer),) = re.findall(r"```sh\n(curl .*?)\n```\s+answers `(.*?)`", TEXT, re.S)
    (tmp_path / name).write_text(code, encoding="utf-8")
    for command in commands.replace("\\\n", " ").splitlines():
        python, *arguments = shlex.split(command)
        assert python == "python"
        module = arguments[1:] if arguments[0] == "-m" else [arguments[0].removesuffix(".py"), *arguments[1:]]
        done = program(*module, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    graphs = Bundle(tmp_path / "store/layer-norm/1").graph_set("fp32")
    loops = {name: census(onnx.load(str(graphs.graph(name))))["Scan"] for name in ("step", "advance", "decode")}
    assert loops == {"step": 0, "advance": 1, "decode": 1}
    with real_server(tmp_path / "store", log=tmp_path / "log") as server:
        asked = question.replace("http://127.0.0.1:8000", server.url)
        found = json.loads(subprocess.run(["bash", "-c", asked], check=True, capture_output=True, text=True).stdout)
    assert found["choices"][0]["text"] == answer
