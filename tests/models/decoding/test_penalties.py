import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.decoding.options import GenerationOptions
from models.decoding.penalties import Penalties, penalty_row
from tests.models.decoding.plain_sampler import penalised

VOCAB = 9
OPTIONS = st.builds(
    GenerationOptions,
    repetition_penalty=st.sampled_from([1.0, 0.5, 1.7]),
    presence_penalty=st.sampled_from([0.0, -2.0, 0.4]),
    frequency_penalty=st.sampled_from([0.0, 2.0, -0.3]),
    logit_bias=st.dictionaries(st.integers(0, VOCAB - 1), st.sampled_from([-100.0, 2.5]), max_size=3),
)
TOKENS = st.lists(st.integers(0, VOCAB - 1), max_size=6)


@given(st.lists(st.tuples(OPTIONS, TOKENS, TOKENS), min_size=1, max_size=6))
def test_rows_are_penalised_as_one_by_one_whatever_joins_and_leaves(
    rows: list[tuple[GenerationOptions, list[int], list[int]]],
) -> None:
    options, prompts, answers = zip(*rows, strict=True)
    penalties = Penalties(
        [penalty_row(each, np.array(prompt, np.int64), VOCAB) for each, prompt in zip(options, prompts, strict=True)]
    )
    present = list(range(len(rows)))
    generator = np.random.default_rng(len(rows))
    for step in range(6):
        logits = generator.normal(size=(len(present), VOCAB)).astype(np.float32)
        given_logits = logits.copy()
        found = penalties.applied(logits)
        assert np.array_equal(logits, given_logits)
        for i, row in enumerate(present):
            plain = penalised(list(logits[i]), prompts[row], answers[row][:step], options[row])
            np.testing.assert_array_equal(found[i], np.array(plain, np.float32))
        tokens = [answers[row][step] if step < len(answers[row]) else -1 for row in present]
        penalties.note(np.array(tokens, np.int64))
        staying = [i for i, token in enumerate(tokens) if token >= 0]
        present = [present[i] for i in reversed(staying)]
        penalties = Penalties([penalties.rows[i] for i in reversed(staying)])
        if not present:
            break


def test_a_row_without_penalties_costs_nothing() -> None:
    assert penalty_row(GenerationOptions(), np.array([1, 2]), VOCAB) is None
    logits = np.zeros((2, VOCAB), np.float32)
    assert Penalties([None, None]).applied(logits) is logits
