"""ONNX operators as torch functions, by name."""

from rewardfl_app.rewards.operators import convolution, elementwise, layers, prelu, shapes
from rewardfl_app.rewards.operators.registry import HOST_INPUTS, OPERATORS, UnsupportedOption

__all__ = ["HOST_INPUTS", "OPERATORS", "UnsupportedOption", "convolution", "elementwise", "layers", "prelu", "shapes"]
