"""The record of what was measured: read as written, and left out where it does not fit the bundle."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from models.digest import as_json, sealed
from models.tasks import TRANSLATION
from runtime.choice import Choice, read_choices, whole_set, write_choices
from runtime.device import VARIABLE, cache_folder
from runtime.opening import CPU, TENSORRT

Built = Callable[..., Bundle]
NO_LISTS: list[Any] = [None, 7, {}, "no", [7]]
BOTH = {CPU: ["int8", "fp32"]}


@pytest.fixture
def bundle(built_bundle: Built, tmp_path: Path) -> Bundle:
    """With its sets for a CPU alone."""
    folder = tmp_path / "store" / "translator" / "1"
    shutil.copytree(built_bundle("gru", "translation").path, folder, ignore=shutil.ignore_patterns("gpu-*"))
    return Bundle(folder)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Bundle) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return cache_folder(bundle.record.sha256)


def entry(**fields: Any) -> dict[str, Any]:
    return {"backend": CPU, "sets": ["fp32", "int8"], "compared": ["int8", "fp32"]} | fields


def test_choices_are_read_as_they_were_written_last(folder: Path, bundle: Bundle, built_bundle: Built) -> None:
    assert read_choices(bundle) == ()
    write_choices(bundle, [whole_set(CPU, "int8", bundle.task)], BOTH, [], {})
    mixed = Choice(CPU, ("fp32", "int8"))
    path = write_choices(bundle, [mixed], BOTH, [{"case": "step 1"}], {"rounds": 5})
    assert path == folder / "bench.json"
    assert list(folder.iterdir()) == [path]
    assert read_choices(bundle) == (mixed,)
    assert read_choices(built_bundle("gru")) == ()


def test_a_choice_names_the_set_of_each_graph() -> None:
    mixed = Choice(CPU, ("fp32", "int8"))
    of_decoder = dict.fromkeys(("step", "decode", "decode_beam"), "int8")
    assert mixed.set_of_graphs(TRANSLATION) == {"encode": "fp32", **of_decoder}
    assert (mixed.precision, str(mixed)) == ("fp32+int8", f"fp32+int8 on {CPU}")
    assert whole_set(CPU, "int8", TRANSLATION) == Choice(CPU, ("int8", "int8"))
    assert Choice(CPU, ("int8", "int8")).precision == "int8"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        as_json({"choices": [entry()]}),  # not sealed
        as_json(sealed({"choice": {"backend": CPU, "set": "int8"}})),  # of an earlier version
        as_json(sealed({})),
        *(
            as_json(sealed({"choices": choices}))
            for choices in (
                *NO_LISTS,
                [entry(backend="abacus")],
                [entry(sets=["gpu-fp16", "gpu-fp16"])],
                [entry(sets=["int8"])],  # one of two groups
                [entry(sets=["int8", None])],
                [entry(sets=["int8", "fp32", "fp32"])],
                [entry(compared=["int8"])],  # fp32 came later
                [entry(compared=None)],
                [entry(backend=TENSORRT, sets=["gpu-fp16"] * 2, compared=["gpu-fp16"])],  # a set that is not here
            )
        ),
    ],
)
def test_a_record_that_does_not_fit_is_no_choice(folder: Path, bundle: Bundle, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "bench.json").write_bytes(content)
    assert read_choices(bundle) == ()


def test_of_several_choices_those_that_fit_are_read(folder: Path, bundle: Bundle) -> None:
    folder.mkdir(parents=True)
    record = {"choices": [entry(backend=TENSORRT), entry(), entry(sets=["int8"])]}
    (folder / "bench.json").write_bytes(as_json(sealed(record)))
    assert read_choices(bundle) == (Choice(CPU, ("fp32", "int8")),)
