"""Reward FL training: when (trainer), what (step, gradients, losses), and the engine under it."""
