import numpy as np

from models.decoding.uniforms import _mix, stream_key, uniforms


def test_the_generator_is_splitmix64() -> None:
    # The first outputs of SplitMix64 seeded with 1234567, as published with the Java and C versions.
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        outputs.append(_mix(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_vectors_and_plain_integers_agree() -> None:
    keys = [stream_key(seed, choice) for seed in (0, 1, 2**63 - 1) for choice in (0, 15)]
    positions = [0, 1, 31, 32768, 2**40, 5]
    (found,) = uniforms(np.array(keys, np.uint64), np.array(positions))
    expected = [
        (_mix(key + (position + 1) * 0x9E3779B97F4A7C15) >> 11) / 2**53
        for key, position in zip(keys, positions, strict=True)
    ]
    assert found.tolist() == expected


def test_every_key_and_position_looks_uniform_and_unrelated() -> None:
    seeds = np.array([stream_key(seed, choice) for seed in range(200) for choice in range(4)], np.uint64)
    table = uniforms(seeds, np.zeros(len(seeds), np.int64), 200)
    assert (table[50] == uniforms(seeds, np.full(len(seeds), 50))[0]).all()
    assert table.min() >= 0
    assert table.max() < 1
    assert abs(table.mean() - 0.5) < 0.003
    counts, _ = np.histogram(table, bins=64, range=(0, 1))
    assert (np.abs(counts - table.size / 64) < 6 * np.sqrt(table.size / 64)).all()
    assert len(np.unique(table)) == table.size
    centred = table - 0.5
    for a, b in ((centred[:-1], centred[1:]), (centred[:, :-1], centred[:, 1:]), (centred[:, ::4], centred[:, 1::4])):
        assert abs((a * b).mean() * 12) < 0.02
