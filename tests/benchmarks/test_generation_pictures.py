import io

import numpy as np

from benchmarks.generation_pictures import latencies_picture, shares_picture


def test_shares_are_drawn_with_what_was_promised() -> None:
    figure = shares_picture("title", {"whole": 0.9, "streamed": 1.2}, {"whole": 0.8})
    (axes,) = figure.axes
    assert axes.get_xlim()[1] > 1.2
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    assert all(f"<!-- {text} -->" in drawn.getvalue() for text in ("whole", "0.90", "1.20", "target"))


def test_latencies_are_drawn_by_percentile() -> None:
    figure = latencies_picture("title", {"answer": [1.0, 2.0, 3.0]}, {"limit": 2.5})
    (axes,) = figure.axes
    values = np.asarray(axes.lines[0].get_ydata())
    assert values[[0, 100, 200]].tolist() == [1, 2, 3]
    figure.savefig(io.BytesIO(), format="svg")
