"""Pre-training of a classifier: guess the next and the previous token of its texts, before any label is seen."""
