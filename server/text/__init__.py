"""Text around the models that translate and classify it: sentences, languages, what is copied, markup.

Knows no HTTP and no engine.
"""
