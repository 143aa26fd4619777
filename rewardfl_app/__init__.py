"""Reward Feedback Learning for image-to-video diffusion models, with an app to run, watch and compare it."""

__version__ = "0.1.0"
