"""Face rewards: ONNX face packs as differentiable torch modules, the identity reward and its judge."""
