"""Measurements of the engine beside the straightforward implementation, and of what a person waits for."""

# What the process of `bench.__main__` measures: each is a module with `measure`.
NAMES = ("memory", "gradients", "step", "plan", "faces", "decode", "data", "startup", "tick", "growth", "wan22")
