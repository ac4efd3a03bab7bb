"""What inputs hold while a graph is checked."""

import pytest
import torch
from torch import nn

from export.user_module.draw import Drawing, new_drawing
from export.user_module.inputs import input_spec_from_text, value_range_from_text
from models.errors import ExportError


def drawing_of(*inputs: str, ranges: tuple[str, ...] = (), module: nn.Module | None = None) -> Drawing:
    specs = [input_spec_from_text(text) for text in inputs]
    return new_drawing(module or nn.Identity(), specs, dict(value_range_from_text(text) for text in ranges))


def values(drawing: Drawing, name: str, sizes: dict[str, int], *, is_full: bool = False) -> torch.Tensor:
    return drawing.draw(sizes, torch.Generator().manual_seed(0), is_full=is_full)[name]


@pytest.mark.parametrize("other", ["ids:int64[batch,time]", "x:float32[time,batch,8]", "ids:int64[batch,steps]"])
def test_lengths_hold_one_to_time_with_time_among_them(other: str) -> None:
    drawing = drawing_of(other, "lengths:int64[batch]")
    lengths = values(drawing, "lengths", {"batch": 200, "time": 9, "steps": 9})
    assert set(lengths.tolist()) == set(range(1, 10))
    for batch in range(1, 20):
        assert values(drawing, "lengths", {"batch": batch, "time": 9, "steps": 9}).max() == 9
    assert set(values(drawing, "lengths", {"batch": 5, "time": 9, "steps": 9}, is_full=True).tolist()) == {9}


def test_lengths_of_a_fixed_time_are_up_to_that_number() -> None:
    assert values(drawing_of("x:float32[batch,6,8]", "lengths:int32[batch]"), "lengths", {"batch": 9}).max() == 6


def test_lengths_without_anything_to_count_ask_for_a_range() -> None:
    with pytest.raises(ExportError, match=r"--range lengths:1\.\.AXIS"):
        values(drawing_of("lengths:int64[batch]"), "lengths", {"batch": 3})


def test_lengths_of_another_name_end_at_the_axis_of_their_range() -> None:
    drawing = drawing_of("source:int64[n,s]", "source_lengths:int64[n]", ranges=("source_lengths:1..s",))
    lengths = values(drawing, "source_lengths", {"n": 50, "s": 7})
    assert set(lengths.tolist()) == set(range(1, 8))
    assert drawing.has_lengths()


def test_integers_stay_below_the_smallest_embedding() -> None:
    module = nn.ModuleList([nn.Embedding(50, 2), nn.Embedding(4, 2)])
    ids = values(drawing_of("ids:int64[batch]", module=module), "ids", {"batch": 500})
    assert set(ids.tolist()) == {0, 1, 2, 3}


def test_a_range_decides_values_with_both_ends() -> None:
    drawing = drawing_of("ids:int64[n]", "x:float32[n]", ranges=("ids:3..5", "x:2..2.5"))
    assert set(values(drawing, "ids", {"n": 200}).tolist()) == {3, 4, 5}
    x = values(drawing, "x", {"n": 200})
    assert x.min() >= 2
    assert x.max() <= 2.5


def test_sizes_keep_to_the_range_of_an_axis_and_never_repeat_the_traced_ones() -> None:
    drawing = drawing_of("x:float32[batch,time,8]", ranges=("time:16..20",))
    example = next(drawing.example_sizes())
    checked = drawing.checked_sizes(example)
    assert len(checked) >= 6
    assert example not in checked
    assert all(16 <= sizes["time"] <= 20 for sizes in (*checked, example))
    assert 1 in {sizes["batch"] for sizes in checked}


def test_different_axes_have_different_sizes_in_the_traced_example() -> None:
    drawing = drawing_of("x:float32[a,b,c,d,e,f,g,h]")
    for sizes in drawing.example_sizes():
        assert len(set(sizes.values())) == 8
        assert min(sizes.values()) > 1
