"""docs/extend.md: the cell that it shows is registered and built by the command that it shows."""

import re
from pathlib import Path

from tests.forked import Program

ROOT = Path(__file__).parents[1]
PUBLISH = """
from pathlib import Path
import my_cells
from tests.tiny_models import tiny_bundle
tiny_bundle(Path("artifacts"), "my-gated", "mine")
"""


def test_the_documented_cell_is_built_by_the_documented_command(program: Program, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "extend.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_cells.py").write_text(block)
    command = "python -m export --import my_cells build artifacts/mine/1 --set fp32"
    assert f"`{command}`" in text
    (tmp_path / "publish.py").write_text(PUBLISH)
    for arguments in (["publish"], command.split()[2:]):
        done = program(*arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "artifacts/mine/1/onnx/fp32/manifest.json").is_file()
