import math

import numpy as np

from models.decoding.logprobs import token_logprobs


def test_logprobs_are_of_the_raw_softmax_and_the_likeliest_come_first() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32) * 3
    tokens = np.array([0, 7, 39, 3, 3])
    for row, found in enumerate(token_logprobs(logits, tokens, [0, 1, 5, 40, 99])):
        shares = np.exp(logits[row].astype(np.float64))
        expected = np.log(shares / shares.sum())
        assert math.isclose(found.logprob, expected[tokens[row]], abs_tol=1e-5)
        order = np.argsort(-expected, kind="stable")[: [0, 1, 5, 40, 40][row]]
        assert [token for token, _ in found.top] == order.tolist()
        np.testing.assert_allclose([logprob for _, logprob in found.top], expected[order], atol=1e-5)


def test_of_equally_likely_tokens_the_lower_id_comes_first() -> None:
    logits = np.array([[1, 3, 3, 1, 3]], np.float32)
    (found,) = token_logprobs(logits, np.array([0]), [4])
    assert [token for token, _ in found.top] == [1, 2, 4, 0]


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    logits = np.random.default_rng(1).normal(size=(64, 777)).astype(np.float32)
    tokens = logits.argmax(axis=1)
    together = token_logprobs(logits, tokens, [3] * 64)
    for row in range(64):
        assert token_logprobs(logits[row : row + 1].copy(), tokens[row : row + 1], [3]) == [together[row]]
