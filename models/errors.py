"""Every error that rnnserve raises on purpose.

RnnserveError
├── ConfigError              a config, recipe key or setting has a value that is not allowed
├── DataError                training data is missing or malformed
├── TokenizerError           a tokenizer file cannot be used, or a text cannot be encoded
├── BundleError
│   ├── BundleNotFoundError  no such store, model or version
│   └── BundleCorruptError   a file of a bundle or graph set is not what its record says
├── ExportError
│   ├── UnsupportedModelError  the model has a part that cannot be exported
│   └── ParityError          an exported graph does not answer as PyTorch does
├── RunnerError              a graph failed while it ran
│   └── BackendMissingError  this machine lacks a backend's libraries or hardware
└── RequestError             a request cannot be answered (server.errors lists these and their HTTP statuses)

The message of each says the name, the value received, what is allowed, and what to do.
"""


class RnnserveError(Exception):
    """Base of every error that rnnserve raises on purpose."""


class ConfigError(RnnserveError):
    """A config, recipe key or setting has a value that is not allowed."""


class DataError(RnnserveError):
    """Training data is missing or malformed."""


class TokenizerError(RnnserveError):
    """A tokenizer file cannot be used, or a text cannot be encoded."""


class BundleError(RnnserveError):
    """A bundle cannot be published or loaded."""


class BundleNotFoundError(BundleError):
    """No such store, model or version."""


class BundleCorruptError(BundleError):
    """A file of a bundle or graph set is not what its record says."""


class ExportError(RnnserveError):
    """A model cannot be exported."""


class UnsupportedModelError(ExportError):
    """The model has a part that cannot be exported."""


class ParityError(ExportError):
    """An exported graph does not answer as PyTorch does."""


class RunnerError(RnnserveError):
    """A graph failed while it ran."""


class BackendMissingError(RunnerError):
    """A backend's libraries or hardware are missing on this machine."""


class RequestError(RnnserveError):
    """A request cannot be answered; server.errors lists the kinds and their HTTP statuses."""
