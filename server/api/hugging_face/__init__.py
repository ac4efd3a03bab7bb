"""Hugging Face's task JSON ({"inputs", "parameters"}), as its InferenceClient sends and reads it."""
