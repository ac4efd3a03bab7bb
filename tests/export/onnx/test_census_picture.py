from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from export.__main__ import app
from export.onnx.census import census
from export.onnx.census_picture import check_picture, draw_census, families
from models.bundle import Bundle
from models.cells import CellKind
from models.errors import ExportError


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_every_operator_is_in_the_picture_once(
    built_bundle: Callable[[CellKind], Bundle], ending: str, tmp_path: Path
) -> None:
    bundle = built_bundle("lstm")
    for name in bundle.graph_sets:
        graph_set = bundle.graph_set(name)
        for graph in graph_set.manifest.graphs:
            model = onnx.load(str(graph_set.graph(graph)), load_external_data=False)
            assert sum(families(model).values()) == census(model).total()
    path = tmp_path / f"operators.{ending}"
    draw_census(bundle, path)
    assert path.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"p\.xyz must end in \.png or \.svg"):
        check_picture(tmp_path / "p.xyz")
    with pytest.raises(ExportError, match="cannot be written"):
        check_picture(tmp_path / "nowhere" / "p.png")
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "no-bundle"), "--picture", "p.xyz"])
    assert "--picture p.xyz must end in" in str(shown.exception)
