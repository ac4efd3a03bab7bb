from benchmarks.start import starts


def test_the_first_start_is_not_counted() -> None:
    (seconds,) = starts(1)
    assert seconds > 0
