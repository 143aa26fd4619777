"""Where the embedded weights lie."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
WAN = WEIGHTS / "wan"
"""A `WanImageToVideoPipeline` folder of diffusers."""
FACES = WEIGHTS / "faces"
"""Root for `insightface.app.FaceAnalysis(name="pocket", root=FACES)`: the pack lies in models/pocket."""
FACE_PACK = FACES / "models" / "pocket"
JUDGE = WEIGHTS / "judge" / "judge.onnx"
