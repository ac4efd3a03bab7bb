"""Generation: a recurrent language model of a text, trained on windows that carry the state."""
