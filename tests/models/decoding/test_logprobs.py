import numpy as np

from models.decoding.logprobs import Logprobs, token_logprobs


def test_logprobs_are_of_the_raw_softmax_and_the_likeliest_come_first() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32) * 3
    tokens = np.array([0, 7, 39, 3, 3])
    shares = np.exp(logits.astype(np.float64))
    expected = np.log(shares / shares.sum(axis=1)[:, None])
    order = np.argsort(-expected, axis=1, kind="stable")
    for num_top in (0, 1, 5, 40, 99):
        found = token_logprobs(logits, tokens, num_top)
        np.testing.assert_allclose(found.logprobs, expected[np.arange(5), tokens], atol=1e-5)
        np.testing.assert_array_equal(found.top_ids, order[:, :num_top])
        np.testing.assert_allclose(found.top_logprobs, np.take_along_axis(expected, order[:, :num_top], 1), atol=1e-5)


def test_of_equally_likely_tokens_the_lower_id_comes_first() -> None:
    logits = np.array([[1, 3, 3, 1, 3]], np.float32)
    assert token_logprobs(logits, np.array([0]), 4).top_ids.tolist() == [[1, 2, 4, 0]]


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    logits = np.random.default_rng(1).normal(size=(64, 777)).astype(np.float32)
    tokens = logits.argmax(axis=1)
    together = token_logprobs(logits, tokens, 5)
    for row in range(64):
        alone = token_logprobs(logits[row : row + 1].copy(), tokens[row : row + 1], 3)
        for one, other in zip(alone, together.part(row, row + 1, 3), strict=True):
            np.testing.assert_array_equal(one, other)


def test_parts_joined_are_the_whole_and_copies() -> None:
    logits = np.random.default_rng(2).normal(size=(9, 12)).astype(np.float32)
    whole = token_logprobs(logits, logits.argmax(axis=1), 2)
    parts = [whole.part(0, 4), whole.part(4, 9)]
    for one, other in zip(Logprobs.joined(parts), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(np.shares_memory(part.top_logprobs, whole.top_logprobs) for part in parts)
