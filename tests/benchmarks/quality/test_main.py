import pytest

from benchmarks.quality.__main__ import main


def test_without_data_it_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    with pytest.raises(SystemExit, match="RNNSERVE_DATA is not set"):
        main()
