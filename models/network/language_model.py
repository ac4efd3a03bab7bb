"""The recurrent language model: embedding, stack, head (Mikolov et al. 2010; dropout as Zaremba et al. 2014)."""

from torch import Tensor, nn

from models.config import LanguageModelConfig
from models.network.recurrent import RecurrentStack


class LanguageModel(nn.Module):
    """Predicts each next token from all before it.

    Args:
        config: sizes, cell kind, depth, dropout, tied embeddings (Press & Wolf 2017).
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.recurrent = RecurrentStack(config.recurrent)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        if config.tied_embeddings:
            nn.init.uniform_(self.embedding.weight, -(config.hidden_size**-0.5), config.hidden_size**-0.5)
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits for every position.

        Args:
            ids: int64 [batch, time], each 0..vocab_size-1.
            state: float [batch, D], the state before each row's first token (`recurrent.zero_state` at a beginning).
            lengths: int [batch], each 1..time; None when every row is full.

        Returns:
            logits float [batch, time, vocab_size] (past lengths[i]: the head of zeros, to be ignored) and
            new_state [batch, D] after each row's last token.
        """
        outputs, new_state = self.recurrent(self.dropout(self.embedding(ids)), state, lengths)
        return self.head(self.dropout(outputs)), new_state
