import io

import numpy as np

from benchmarks.latency.pictures import latencies_picture


def test_latencies_are_drawn_by_percentile() -> None:
    figure = latencies_picture("title", {"answer": [1.0, 2.0, 3.0]}, {"limit": 2.5})
    (axes,) = figure.axes
    values = np.asarray(axes.lines[0].get_ydata())
    assert values[[0, 100, 200]].tolist() == [1, 2, 3]
    figure.savefig(io.BytesIO(), format="svg")
