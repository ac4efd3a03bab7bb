import pytest

from models.errors import ConfigError
from models.tasks import GENERATION, SENTIMENT, TRANSLATION, task_of
from runtime.buckets import buckets_up_to
from runtime.tensorrt.profiles import Limits, Profile, Range, profiles_of

SIZES = {"D": 80, "M": 40, "A": 32}


def holds(shapes: Range, shape: tuple[int, ...]) -> bool:
    low, high = shapes.smallest, shapes.largest
    return all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))


def is_ordered(profile: Profile) -> bool:
    return all(
        a <= b <= c
        for shapes in profile.values()
        for a, b, c in zip(shapes.smallest, shapes.typical, shapes.largest, strict=True)
    )


def test_a_step_has_one_profile_for_each_batch_bucket() -> None:
    profiles = profiles_of(GENERATION.graph("step"), SIZES, Limits(max_batch=48))
    sizes = buckets_up_to(48)
    assert len(profiles) == len(sizes)
    for size, profile in zip(sizes, profiles, strict=True):
        assert profile == {"token": Range((size,), (size,), (size,)), "state": Range(*[(size, 80)] * 3)}


@pytest.mark.parametrize("max_length", [1, 16, 100, 1024])
@pytest.mark.parametrize("task", ["generation", "translation", "sentiment"])
def test_every_shape_that_the_server_asks_has_a_profile(task: str, max_length: int) -> None:
    limits = Limits(max_batch=12, max_length=max_length)
    if task == "generation":
        profiles = profiles_of(GENERATION.graph("advance"), SIZES, limits)
        assert all(is_ordered(profile) for profile in profiles)
        shapes = [{"ids": (b, t), "lengths": (b,), "state": (b, 80)} for b in (1, 12) for t in range(1, 33)]
    else:
        graph = "encode" if task == "translation" else "classify"
        profiles = profiles_of(task_of(task).graph(graph), SIZES, limits)
        shapes = [{"ids": (1, t), "lengths": (1,)} for t in range(16, max_length + 16, 16)]
    for shape in shapes:
        assert any(all(holds(profile[name], shape[name]) for name in profile) for profile in profiles), shape


def test_a_translators_step_holds_every_padded_source() -> None:
    profiles = profiles_of(TRANSLATION.graph("step"), SIZES, Limits(max_batch=4, max_length=100))
    assert all(is_ordered(profile) for profile in profiles)
    for length in (16, 32, 64, 112):
        assert holds(profiles[2]["memory"], (4, length, 40))
        assert holds(profiles[2]["keys"], (4, length, 32))
    assert not holds(profiles[2]["memory"], (4, 128, 40))
    assert profiles[2]["lengths"] == Range((4,), (4,), (4,))


def test_long_texts_have_a_profile_with_fewer_rows() -> None:
    short, long = profiles_of(SENTIMENT.graph("classify"), SIZES, Limits(max_batch=64, max_length=8192))
    assert short["ids"].largest == (64, 128)
    assert long["ids"].smallest == (1, 144)
    assert long["ids"].largest == (2, 8192)


@pytest.mark.parametrize("limits", [{"max_batch": 0}, {"max_batch": 5000}, {"max_length": 0}])
def test_limits_that_no_engine_has_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"max_(batch|length) is \d+; allowed are 1 to"):
        Limits(**limits)
