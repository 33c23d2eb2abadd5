"""Drivers that measure aiovfs beside its rivals, one question each; run them as `python -m benchmarks.NAME`."""
