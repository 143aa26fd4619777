"""Measurements of the engine beside the straightforward implementation: memory, gradients and time of a step."""
