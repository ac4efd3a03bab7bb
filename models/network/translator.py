"""The translator: recurrent encoder, recurrent decoder, global attention after each decoder step (Luong et al. 2015).

At each target position: the decoder takes the previous token (and with input feeding the previous attentional vector),
its top hidden state asks the memory, and h~ = tanh(W [context; h]) goes to the head. Without input feeding no step
needs the attention of the one before, so all target positions of a training batch run through the decoder at once.
"""

import torch
from torch import Tensor, nn

from models.config import TranslatorConfig
from models.network.attention import additive_scores, attention_weights, context_vectors, multiplicative_scores
from models.network.recurrent import RecurrentStack


class Translator(nn.Module):
    """Predicts each next target token from the source and all target tokens before it.

    Args:
        config: sizes, cell kind, attention, input feeding, bridge, shared and tied embeddings.
    """

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        self.source_embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.target_embedding = (
            self.source_embedding
            if config.shared_embeddings
            else nn.Embedding(config.vocab_size, config.embedding_size)
        )
        self.encoder = RecurrentStack(config.encoder)
        self.keys = nn.Linear(config.memory_width, config.keys_width, bias=False)
        if config.attention == "additive":
            self.query = nn.Linear(config.hidden_size, config.keys_width)
            self.score_vector = nn.Parameter(torch.empty(config.keys_width).uniform_(-0.1, 0.1))
        if config.bridge == "linear":
            self.bridge = nn.Linear(config.memory_width, config.decoder.state_size)
        self.decoder = RecurrentStack(config.decoder)
        self.combine = nn.Linear(config.memory_width + config.hidden_size, config.output_size, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.output_size, config.vocab_size)
        for embedding in {self.source_embedding, self.target_embedding}:
            nn.init.normal_(embedding.weight, std=config.embedding_size**-0.5)
        if config.tied_embeddings:
            self.head.weight = self.target_embedding.weight

    def encode(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the sources.

        Args:
            ids: int64 [batch, source], each row its tokens and <eos>; what lies past lengths[i] is ignored.
            lengths: int [batch], each 1..source.

        Returns:
            memory float [batch, source, M] (zero past lengths[i]), keys float [batch, source, A], and state float
            [batch, D], the decoder's first.
        """
        inputs = self.dropout(self.source_embedding(ids))
        memory, final = self.encoder(inputs, self.encoder.zero_state(ids.shape[0]), lengths)
        return memory, self.keys(memory), self.first_state(final)

    def first_state(self, final: Tensor) -> Tensor:
        """The decoder's first state, float [batch, D], from the encoder's last, float [batch, encoder D].

        The linear bridge reads the top layer's h of each direction (Bahdanau et al. 2015, appendix A.2.2).
        """
        config = self.config
        if config.bridge == "zero":
            return final.new_zeros(final.shape[0], config.state_size)
        end = config.encoder_layers * config.memory_width
        state = torch.tanh(self.bridge(final[:, end - config.memory_width : end]))
        if config.kind == "rnn-relu":
            state = torch.relu(state)  # such a cell's state is never negative
        if config.input_feeding:
            state = torch.cat([state, state.new_zeros(state.shape[0], config.output_size)], dim=1)
        return state

    def attend(self, hidden: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Ask the memory.

        Args:
            hidden: float [batch, queries, hidden_size], the decoder's top hidden states.
            memory: float [batch, source, M].
            keys: float [batch, source, A].
            lengths: int [batch].

        Returns:
            The attentional vectors tanh(W [context; h]), float [batch, queries, output_size], and the weights, float
            [batch, queries, source].
        """
        if self.config.attention == "additive":
            scores = additive_scores(self.query(hidden), keys, self.score_vector)
        else:
            scores = multiplicative_scores(hidden, keys)
        weights = attention_weights(scores, lengths)
        context = context_vectors(weights, memory)
        return torch.tanh(self.combine(torch.cat([context, hidden], dim=-1))), weights

    def step(
        self, token: Tensor, state: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One target token for each row.

        Args:
            token: int64 [batch].
            state: float [batch, D].
            memory: float [batch, source, M].
            keys: float [batch, source, A].
            lengths: int [batch], of the sources.

        Returns:
            logits [batch, V], new_state [batch, D], attention [batch, source].
        """
        output, new_state, weights = self._one_position(self.target_embedding(token), state, memory, keys, lengths)
        return self.head(self.dropout(output)), new_state, weights

    def forward(self, ids: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Logits for every target position, the positions before it given (teacher forcing).

        Args:
            ids: int64 [batch, source].
            lengths: int [batch], of the sources.
            targets: int64 [batch, time], <eos> first: what the decoder reads.

        Returns:
            float [batch, time, V]: of the token after each of the targets.
        """
        memory, keys, state = self.encode(ids, lengths)
        embedded = self.dropout(self.target_embedding(targets))
        if not self.config.input_feeding:
            hidden, _ = self.decoder(embedded, state)
            outputs, _ = self.attend(self.dropout(hidden), memory, keys, lengths)
            logits: Tensor = self.head(self.dropout(outputs))
            return logits
        collected = []
        for position in embedded.unbind(1):
            output, state, _ = self._one_position(position, state, memory, keys, lengths)
            collected.append(output)
        logits = self.head(self.dropout(torch.stack(collected, dim=1)))
        return logits

    def _one_position(
        self, embedded: Tensor, state: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The attentional vector, the new state and the weights, from one position's embedding [batch, E]."""
        size = self.config.decoder.state_size
        inputs = torch.cat([embedded, state[:, size:]], dim=1) if self.config.input_feeding else embedded
        hidden, new_state = self.decoder(inputs.unsqueeze(1), state[:, :size].contiguous())
        outputs, weights = self.attend(self.dropout(hidden), memory, keys, lengths)
        output = outputs.squeeze(1)
        if self.config.input_feeding:
            new_state = torch.cat([new_state, output], dim=1)
        return output, new_state, weights.squeeze(1)
