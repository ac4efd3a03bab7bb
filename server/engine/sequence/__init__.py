"""Models of frames: chunks of many sequences are read together, each from its own state."""
