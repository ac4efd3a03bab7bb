from importlib import import_module

import pytest

from benchmarks.__main__ import ALL, OTHERS, ROUNDS, SECONDS, main


def test_every_benchmark_has_a_main_that_gives_a_report() -> None:
    for module in (ALL | OTHERS).values():
        assert import_module(module).main.__annotations__["return"].__name__ == "Report"
    assert (ALL | OTHERS).keys() >= {*ROUNDS, *SECONDS}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no benchmark 'nothing'"),
        (["step", "--rounds", "1"], "not for step"),
        (["--seconds", "1"], "not for generation"),
    ],
)
def test_what_is_not_a_benchmark_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_one_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    assert main(["quality", "quality"]) == 1  # two, in processes of their own
    printed = capfd.readouterr().err
    assert printed.count("RNNSERVE_DATA is not set") == 2
    assert "failed: quality, quality" in printed
