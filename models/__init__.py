"""What a model is: configuration, tokenizer, state row, and the bundle on disk. Torch-free outside `models.network`."""

from models.offline import switch_off_telemetry

switch_off_telemetry()
