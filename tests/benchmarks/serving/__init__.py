"""Tests of benchmarks.serving."""
