"""Sentiment: labelled texts of several data sets, batches by length, accuracy and macro-F1."""
