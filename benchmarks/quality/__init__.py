"""How good the shipped models are on validation data, beside simple baselines of the same run."""
