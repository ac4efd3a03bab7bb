"""Timing a model's graph sets on the backends of this machine, and choosing one."""
