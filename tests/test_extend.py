"""docs/extend.md: the cell that it shows is registered and built by the command that it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PUBLISH = """
from pathlib import Path
import my_cells
from tests.tiny_models import tiny_bundle
tiny_bundle(Path("artifacts"), "my-gated", "mine")
"""


def test_the_documented_cell_is_built_by_the_documented_command(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "extend.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_cells.py").write_text(block)
    command = "python -m export --import my_cells build artifacts/mine/1 --set fp32"
    assert f"`{command}`" in text
    for arguments in (["-c", PUBLISH], command.split()[1:]):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "artifacts/mine/1/onnx/fp32/manifest.json").is_file()
