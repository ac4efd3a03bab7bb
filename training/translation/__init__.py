"""Translation: sentence pairs, batches by length, teacher forcing, BLEU and chrF."""
