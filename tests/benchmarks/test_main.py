from importlib import import_module, util

import pytest

from benchmarks.__main__ import ALL, OTHERS, main


def test_every_benchmark_has_a_main() -> None:
    for module in (ALL | OTHERS).values():
        assert util.find_spec(module) is not None, module
    assert callable(import_module(OTHERS["readme"]).main)


@pytest.mark.parametrize(
    ("arguments", "said"), [(["nothing"], "no benchmark 'nothing'"), (["step", "--rounds", "1"], "not for step")]
)
def test_what_is_not_a_benchmark_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_one_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    assert main(["quality", "quality"]) == 1
    said = capfd.readouterr().err
    assert said.count("RNNSERVE_DATA is not set") == 2
    assert "failed: quality, quality" in said
