"""crops.jpg: the aligned faces of one clip on a sheet, each as the recogniser sees it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rewardfl_app.rewards import alignment
from rewardfl_app.runs import durable

FILE_NAME = "crops.jpg"
SIZE = 112  # pixels of one crop
COLUMNS = 16
LARGEST = 1024  # crops on a sheet
_QUALITY = 90


class CropSheet:
    """Cuts the faces of a report out of the clip's frames, which may come chunk after chunk.

    The report (the content of faces.json) is told where each crop lies: `crops` of the report and `crop` of each face,
    row by row. Of more than LARGEST faces the least similar to the reference are cut.
    """

    def __init__(self, report: dict[str, Any]) -> None:
        self._wanted: dict[int, list[dict[str, Any]]] = {}
        places = [(frame["frame"], face) for frame in report["frames"] for face in frame["faces"]]
        if len(places) > LARGEST:
            worst = sorted(places, key=lambda place: (place[1]["similarity"] is None, place[1]["similarity"] or 0.0))
            chosen = {id(face) for _, face in worst[:LARGEST]}
            places = [(frame, face) for frame, face in places if id(face) in chosen]
        for number, (frame, face) in enumerate(places):
            face["crop"] = number
            self._wanted.setdefault(frame, []).append(face)
        rows = math.ceil(len(places) / COLUMNS)
        self._sheet = np.zeros((rows * SIZE, min(COLUMNS, len(places)) * SIZE, 3), np.uint8)
        report["crops"] = {"file": FILE_NAME, "size": SIZE, "columns": COLUMNS} if places else None

    def cut(self, frames: Tensor, offset: int = 0) -> None:
        """Cuts the faces of frames [n, 3, H, W] (RGB in [-1, 1] or uint8), which are frames offset, ... of the clip."""
        here = [(n, face) for n in range(len(frames)) for face in self._wanted.get(offset + n, ())]
        if not here:
            return
        landmarks = torch.tensor([face["landmarks"] for _, face in here])
        transforms = alignment.similarity_transforms(landmarks, SIZE)
        crops = alignment.crop(frames.detach().cpu(), torch.tensor([n for n, _ in here]), transforms, SIZE)
        levels = ((crops.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for (_, face), pixels in zip(here, levels, strict=True):
            row, column = divmod(face["crop"], COLUMNS)
            self._sheet[row * SIZE : (row + 1) * SIZE, column * SIZE : (column + 1) * SIZE] = pixels

    def save(self, folder: Path) -> None:
        """Writes crops.jpg into a folder, whole or not at all; nothing where no face was found."""
        if not self._sheet.size:
            return
        unfinished = folder / f".{FILE_NAME}.part"
        Image.fromarray(self._sheet).save(unfinished, format="JPEG", quality=_QUALITY, subsampling=0)
        durable.put_in_place(unfinished, folder / FILE_NAME)
