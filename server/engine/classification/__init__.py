"""Models that read whole texts and keep no state: one runtime call for the texts that wait, of similar lengths."""
