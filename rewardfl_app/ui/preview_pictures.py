"""The pictures a Playground video can begin with: one's own, first frames of a data set, people drawn for it.

A picture has a name that the page keeps: upload:ID, evaluation:3 and train:3 (rows of the model's data), person:7
(drawn from that seed), result:ID (of an earlier video).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from rewardfl_app.config.schema import Config
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs import content, previews
from rewardfl_app.runs.previews import PreviewFolder
from rewardfl_app.supervisor.freeze import EMBEDDED_FAMILY
from rewardfl_app.ui.dataset_view import embedded_clips
from rewardfl_app.ui.media import PICTURE_SUFFIXES, first_frame, thumbnail
from rewardfl_app.ui.uploads import UploadError, accept

NUM_SHOWN = 16  # rows of each data set
KEPT = 60  # pictures that were sent, drawn or cut out
LARGEST_SIDE = 4096  # pixels; more is made smaller
SMALLEST_SIDE = 16
_THUMBNAIL = 160
_PERSON_SEED = 3_000_017  # apart from those of the data sets, so nobody drawn here was trained on
_UPLOAD = re.compile(r"[0-9a-f]{16}")


class PictureError(Exception):
    """A picture that cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Picture:
    """A picture as the page shows it before it is used: its name, a small version, and a prompt that fits."""

    picture: str
    title: str
    thumbnail: str | None
    prompt: str = ""

    def row(self) -> dict[str, Any]:
        """What the page gets."""
        return {"picture": self.picture, "title": self.title, "thumbnail": self.thumbnail, "prompt": self.prompt}


def keep_upload(sent: object, runs_dir: Path, uploads: Path) -> Picture:
    """Take a picture that the browser sent into the Playground's folder, upright and as PNG. Raises PictureError."""
    try:
        upload = accept(sent, PICTURE_SUFFIXES, uploads)
    except UploadError as error:
        raise PictureError(str(error)) from error
    try:
        picture = first_frame(upload.path)
    except DataError as error:
        raise PictureError(f"{upload.name} cannot be read as a picture: choose another.") from error
    finally:
        upload.path.unlink(missing_ok=True)
    if min(picture.size) < SMALLEST_SIDE:
        raise PictureError(f"{upload.name} is {picture.width} x {picture.height} pixels: choose a larger picture.")
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    name = secrets.token_hex(8)
    path = _save(picture, runs_dir, f"upload-{name}")
    return Picture(f"upload:{name}", upload.name, thumbnail(path, _THUMBNAIL))


def offered(config: Config | None, runs_dir: Path) -> list[dict[str, Any]]:
    """Groups of first frames that go with a model: [{key, title, pictures}], those it was not trained on first."""
    groups = []
    for key, title in (("evaluation", "Not trained on"), ("train", "Trained on")):
        if rows := _rows(key, config, runs_dir)[:NUM_SHOWN]:
            pictures = [
                Picture(f"{key}:{n}", row.prompt, thumbnail(row.input_image or row.video, _THUMBNAIL), row.prompt)
                for n, row in enumerate(rows)
            ]
            groups.append({"key": key, "title": title, "pictures": [picture.row() for picture in pictures]})
    return groups


def draw_person(seed: int, runs_dir: Path) -> Picture:
    """Draw somebody whom no model has seen. Raises PictureError."""
    path, prompt = _person(seed, runs_dir)
    return Picture(f"person:{seed}", "A person drawn for you", thumbnail(path, _THUMBNAIL), prompt)


def described(name: str, config: Config | None, runs_dir: Path) -> Picture | None:
    """The picture of this name, for a page that was opened again; None when it is gone."""
    try:
        path = find(name, config, runs_dir)
    except PictureError:
        return None
    kind, _, rest = name.partition(":")
    titles = {"upload": "Your picture", "person": "A person drawn for you", "result": "Picture of an earlier video"}
    prompt = ""
    if kind in ("evaluation", "train"):
        prompt = _rows(kind, config, runs_dir)[int(rest)].prompt
    elif kind == "person":
        prompt = _person(int(rest), runs_dir)[1]
    return Picture(name, titles.get(kind, prompt), thumbnail(path, _THUMBNAIL), prompt)


def find(name: str, config: Config | None, runs_dir: Path) -> Path:
    """The PNG file of a picture. Raises PictureError."""
    kind, _, rest = name.partition(":")
    gone = PictureError("That picture is not there any more: choose another.")
    folder = PreviewFolder.of(runs_dir)
    if kind == "upload" and _UPLOAD.fullmatch(rest):
        path = folder.pictures / f"upload-{rest}.png"
    elif kind == "result":
        earlier = previews.find(folder, rest)
        if earlier is None:
            raise gone
        path = earlier.picture
    elif kind == "person" and rest.isdecimal() and len(rest) < 10:
        path = _person(int(rest), runs_dir)[0]
    elif kind in ("evaluation", "train") and rest.isdecimal() and len(rest) < 6:
        rows = _rows(kind, config, runs_dir)
        if int(rest) >= len(rows):
            raise gone
        path = _cut_out(rows[int(rest)], runs_dir)
    else:
        raise PictureError("Choose a picture first.")
    if not path.is_file():
        raise gone
    return path


def _rows(key: str, config: Config | None, runs_dir: Path) -> list[Any]:
    """Rows of the evaluation or the training data of a model; [] where there is none or it cannot be read."""
    from rewardfl_app.data import manifest  # brings PyAV, see media.first_frame

    path = None
    if config is not None:
        path = config.evaluation.metadata_path if key == "evaluation" else config.data.metadata_path
    try:
        if path is None and (config is None or config.model.model_name == EMBEDDED_FAMILY):
            # The embedded people; those for evaluation lie beside those for training.
            training = embedded_clips(runs_dir)
            path = training and str(Path(training).with_name("metadata_eval.csv")) if key == "evaluation" else training
        return list(manifest.read(Path(path))) if path else []
    except (DataError, OSError):
        return []


def _cut_out(row: Any, runs_dir: Path) -> Path:
    """The first frame of a row as a file. Raises PictureError."""
    source = row.input_image or row.video
    try:
        key = content.digest([str(source), source.stat().st_mtime_ns])[:16]
        path = PreviewFolder.of(runs_dir).pictures / f"row-{key}.png"
        return path if path.is_file() else _save(first_frame(source), runs_dir, path.stem)
    except (DataError, OSError) as error:
        raise PictureError(f"{source.name} cannot be read: choose another picture.") from error


def _person(seed: int, runs_dir: Path) -> tuple[Path, str]:
    import numpy as np

    from rewardfl_app.pocket.clips import sample_clip

    clip = sample_clip(np.random.default_rng((_PERSON_SEED, seed)), num_frames=1)
    path = PreviewFolder.of(runs_dir).pictures / f"person-{seed}.png"
    if not path.is_file():
        path = _save(Image.fromarray(clip.drawing.images[0]), runs_dir, path.stem)
    return path, clip.prompt


def _save(picture: Image.Image, runs_dir: Path, name: str) -> Path:
    """Write a picture under a name of its own, and let the oldest go. Raises PictureError."""
    folder = PreviewFolder.of(runs_dir).pictures
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{name}.{secrets.token_hex(4)}.png"
        picture.convert("RGB").save(unfinished)
        path = unfinished.rename(folder / f"{name}.png")
        known = sorted(folder.glob("[!.]*.png"), key=lambda file: file.stat().st_mtime_ns)
        for old in known[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise PictureError(f"{folder} cannot be written ({error.strerror}): free space there.") from error
    return path
