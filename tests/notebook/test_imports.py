from __future__ import annotations

import subprocess
import sys


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from rewardfl_app.notebook import gallery, panel, player, watch; "
        "heavy = ('torch', 'deepspeed', 'diffusers', 'transformers', 'onnxruntime', 'gradio', 'matplotlib'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
