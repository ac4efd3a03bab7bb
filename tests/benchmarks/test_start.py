from benchmarks.operation.start import seconds_to_ready


def test_the_first_start_is_not_counted() -> None:
    (seconds,) = seconds_to_ready(1)
    assert seconds > 0
