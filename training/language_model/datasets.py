"""The data sets by the name that a recipe gives them."""

from pathlib import Path

from models.errors import ConfigError
from training.data import builtin, names, text_file, tiny_shakespeare, war_and_peace
from training.data.corpus import Corpus
from training.language_model.recipe import DataSection


def load_corpus(section: DataSection) -> Corpus:
    """Read the data set that a recipe names.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: a text file without its path.
    """
    share = section.validation_share
    match section.dataset:
        case "tiny-shakespeare":
            return tiny_shakespeare.load(share)
        case "war-and-peace":
            return war_and_peace.load(share)
        case "names":
            return names.load(share)
        case "builtin":
            return builtin.load(share, section.max_characters)
        case "text-file":
            if section.path is None:
                raise ConfigError("data.path is missing; name the text file: data.path=my.txt")
            return text_file.load(Path(section.path), share)
