"""How many requests one model has inside the server at once. Belongs to the event loop: no locks."""

from server.errors import OverloadedError

RETRY_AFTER_SECONDS = 1


class Permits:
    """Permits of one model; a request holds one from before its prompt is tokenized until its answer is sent.

    Args:
        model: the model's id, for the message.
        limit: how many there are.

    Attributes:
        num_taken: how many are taken.
    """

    def __init__(self, model: str, limit: int) -> None:
        self._model = model
        self._limit = limit
        self.num_taken = 0

    def take(self) -> None:
        """Take one; give it back with `give_back`.

        Raises:
            OverloadedError: all are taken.
        """
        if self.num_taken >= self._limit:
            raise OverloadedError(
                f"Model {self._model} is full: {self._limit} requests are running or waiting. "
                f"Try again in {RETRY_AFTER_SECONDS} s, or raise RNNSERVE_MAX_REQUESTS.",
                headers={"retry-after": str(RETRY_AFTER_SECONDS)},
            )
        self.num_taken += 1

    def give_back(self) -> None:
        """Give one back."""
        self.num_taken -= 1
