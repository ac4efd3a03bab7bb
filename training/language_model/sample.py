"""A taste of a model for its card: ancestral sampling, one token after the other, in torch."""

import torch

from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer

NUM_TOKENS = 400
TEMPERATURE = 0.8


def sample(model: LanguageModel, tokenizer: Tokenizer, *, seed: int) -> str:
    """Text that the model writes from an end token, or from a line end where it knows no ends.

    Args:
        model: on the CPU, in evaluation mode.
        tokenizer: the model's.
        seed: of the sample.

    Returns:
        NUM_TOKENS tokens at TEMPERATURE as text; document ends are shown as line ends.
    """
    generator = torch.Generator().manual_seed(seed)
    end = tokenizer.end_id
    token = end if end is not None else tokenizer.encode("\n")[-1]
    state = model.recurrent.zero_state(1)
    ids: list[int] = []
    with torch.no_grad():
        for _ in range(NUM_TOKENS):
            logits, state = model(torch.tensor([[token]]), state)
            weights = torch.softmax(logits[0, -1].double() / TEMPERATURE, dim=-1)
            token = int(torch.multinomial(weights, 1, generator=generator))
            ids.append(token)
    pieces: list[list[int]] = [[]]
    for token in ids:
        if token == end:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return "\n".join(tokenizer.decode(piece) for piece in pieces)
