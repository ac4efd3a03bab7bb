"""What a model is: configuration, tokenizer, state row, and the bundle on disk. Torch-free outside `models.network`."""
