from server.watch import BEAT_SECONDS, Watch


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(*looks: tuple[float, float]) -> float:
    """Seconds of one thing after looks, each so long after the one before, at what began then."""
    clock = Clock()
    watch = Watch(clock)
    for passed, began in looks:
        clock.now += passed
        watch.look({"a": began})
    return watch.seconds("a")


def test_what_goes_on_is_counted_and_what_begins_anew_is_not() -> None:
    assert watched((0.5, 7), (0.5, 7), (0.5, 7)) == 1.0
    assert watched((0.5, 7), (0.5, 7), (0.5, 8)) == 0
    assert watched((0.5, 7), (0.5, 0), (0.5, 0)) == 0
    assert watched() == 0


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    assert watched((0.5, 7), (1000, 7)) == 2 * BEAT_SECONDS
    assert watched((0.5, 7), (1000, 7), (0.5, 7)) == 2 * BEAT_SECONDS + 0.5


def test_what_is_no_more_is_forgotten() -> None:
    clock = Clock()
    watch = Watch(clock)
    watch.look({"a": 7})
    clock.now += 0.5
    watch.look({"b": 7})
    watch.look({"a": 7})
    assert watch.seconds("a") == 0
