import pytest

from export.user_module.inputs import (
    InputSpec,
    ValueRange,
    argument_from_text,
    flat_inputs,
    input_spec_from_text,
    value_range_from_text,
)
from models.errors import ExportError


def test_a_word_is_a_dynamic_axis_and_a_number_a_fixed_one() -> None:
    spec = input_spec_from_text(" mel : float32[batch, 80 ,time]")
    assert spec == InputSpec("mel", "float32", ("batch", 80, "time"))
    assert spec.dynamic_axes == {0: "batch", 2: "time"}
    assert input_spec_from_text("flag:bool[]").axes == ()


def test_only_an_integer_input_of_that_name_holds_lengths() -> None:
    assert input_spec_from_text("lengths:int32[batch]").is_lengths
    assert not input_spec_from_text("lengths:float32[batch]").is_lengths
    assert not input_spec_from_text("src_lengths:int64[batch]").is_lengths


@pytest.mark.parametrize(
    "text", ["", "ids", "ids:int64", "int64[batch]", "1d:int64[b]", "a b:int64[b]", "ids:int64[[b]]"]
)
def test_an_input_written_otherwise_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ExportError, match=r"NAME:DTYPE\[AXIS,\.\.\.\], for instance ids:int64\[batch,time\]"):
        input_spec_from_text(text)


@pytest.mark.parametrize("axes", ["batch,", "a-b", "-1", "batch,0", "1.5"])
def test_an_axis_that_is_neither_word_nor_number_is_refused(axes: str) -> None:
    with pytest.raises(ExportError, match=r"Input x has an axis"):
        input_spec_from_text(f"x:float32[{axes}]")


def test_ranges_are_numbers_or_end_at_an_axis() -> None:
    assert value_range_from_text("ids:1..99") == ("ids", ValueRange(1, 99))
    assert value_range_from_text("speed : -0.5..1e3") == ("speed", ValueRange(-0.5, 1000))
    assert value_range_from_text("source_lengths:1..source") == ("source_lengths", ValueRange(1, "source"))


@pytest.mark.parametrize("text", ["ids", "ids:3", "ids:..3", "ids:a..3", "ids:nan..3", "ids:1..2!", "x:2..1"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match=r"Range '"):
        value_range_from_text(text)


def test_parentheses_make_a_tuple_of_inputs() -> None:
    h, c = (input_spec_from_text(f"{name}:float32[2,batch,6]") for name in "hc")
    assert argument_from_text("h:float32[2,batch,6]") == h
    assert argument_from_text("(h:float32[2,batch,6], c:float32[2,batch,6])") == (h, c)
    nested = argument_from_text("((h:float32[2,batch,6],c:float32[2,batch,6]),(h:float32[2,batch,6],))")
    assert nested == ((h, c), (h,))
    assert flat_inputs([h, nested]) == [h, h, c, h]


@pytest.mark.parametrize(
    "text", ["(h:float32[2,batch,6]", "(h:float32[2])(", "((h:float32[2])", "(h:float32[2,batch),6]"]
)
def test_parentheses_that_do_not_match_are_refused(text: str) -> None:
    with pytest.raises(ExportError, match=r"not written as|one tuple"):
        argument_from_text(text)
