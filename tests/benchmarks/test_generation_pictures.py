import io

from benchmarks.generation_pictures import latencies_picture, shares_picture


def test_shares_are_drawn_with_what_was_promised() -> None:
    figure = shares_picture("title", {"whole": 0.9, "streamed": 1.2}, {"whole": 0.8})
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.9, 1.2]
    assert axes.get_xlim()[1] > 1.2
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["target"]
    figure.savefig(io.BytesIO(), format="svg")


def test_latencies_are_drawn_by_percentile() -> None:
    figure = latencies_picture("title", {"answer": [1.0, 2.0, 3.0]}, {"limit": 2.5})
    (axes,) = figure.axes
    line = axes.lines[0]
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True))[100] == (50.0, 2.0)
    figure.savefig(io.BytesIO(), format="svg")
