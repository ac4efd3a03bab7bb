import pytest

from runtime.buckets import bucket_of, buckets_up_to, length_bucket


@pytest.mark.parametrize("largest", [1, 2, 3, 8, 48, 64, 100])
def test_every_batch_has_the_smallest_bucket_that_holds_it(largest: int) -> None:
    sizes = buckets_up_to(largest)
    assert sizes[0] == 1
    assert sizes[-1] == largest
    for num_rows in range(1, largest + 1):
        assert bucket_of(num_rows, largest) == min(size for size in sizes if size >= num_rows)


def test_lengths_are_sixteen_times_a_power_of_two() -> None:
    assert [length_bucket(n) for n in (1, 16, 17, 32, 33, 64, 65, 1024)] == [16, 16, 32, 32, 64, 64, 128, 1024]
