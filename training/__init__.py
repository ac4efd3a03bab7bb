"""Text in, trained bundle out."""
