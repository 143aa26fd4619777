"""Linking faces over frames and matching tracks to people."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.tracks import Track, assign, iou, link

ANNA, BERT, CARA = torch.eye(8)[0], torch.eye(8)[1], torch.eye(8)[2]


def _faces(*centres: tuple[float, float], size: float = 20) -> Faces:
    boxes = torch.tensor([[x - size / 2, y - size / 2, x + size / 2, y + size / 2, 0.9] for x, y in centres])
    return Faces(boxes.reshape(-1, 5), torch.zeros(len(centres), 5, 2))


def _near(person: Tensor, seed: int, noise: float = 0.15) -> Tensor:
    return person + noise * torch.randn(8, generator=torch.Generator().manual_seed(seed))


def _people(tracks: list[Track]) -> list[set[int]]:
    return [{int(embedding.argmax()) for embedding in track.embeddings.values()} for track in tracks]


def test_two_people_keep_their_tracks_when_their_order_and_sizes_change() -> None:
    faces, embeddings = [], []
    for frame in range(20):
        a, b = (30.0 + frame, 50.0), (90.0 - frame, 52.0)
        swapped = frame % 3 == 0
        faces.append(_faces(b, a) if swapped else _faces(a, b, size=20 + frame % 5))
        pair = [_near(ANNA, frame), _near(BERT, 100 + frame)]
        embeddings.append(torch.stack(pair[::-1] if swapped else pair))
    tracks = link(faces, embeddings)
    assert [len(track.faces) for track in tracks] == [20, 20]
    assert sorted(map(tuple, _people(tracks))) == [(0,), (1,)]


def test_people_who_jump_to_each_others_place_are_told_apart() -> None:
    """A cut: the boxes stay, the people change places."""
    faces = [_faces((30, 30), (80, 30))] * 6
    order = [(ANNA, BERT)] * 3 + [(BERT, ANNA)] * 3
    tracks = link(faces, [torch.stack([_near(a, i), _near(b, 50 + i)]) for i, (a, b) in enumerate(order)])
    assert _people(tracks) == [{0}, {1}]


def test_someone_else_in_the_same_place_is_a_new_track_and_who_returns_keeps_the_id() -> None:
    faces = [_faces((40, 40))] * 9
    people = [ANNA] * 3 + [BERT] * 3 + [ANNA] * 3
    tracks = link(faces, [_near(person, i)[None] for i, person in enumerate(people)])
    assert [sorted(track.faces) for track in tracks] == [[0, 1, 2, 6, 7, 8], [3, 4, 5]]


def test_slow_drift_stays_one_track() -> None:
    steps = torch.linspace(0, 1, 30)
    tracks = link([_faces((40, 40))] * 30, [((1 - s) * ANNA + s * BERT)[None] for s in steps])
    assert [len(track.faces) for track in tracks] == [30]


def test_frames_without_faces_are_passed_over() -> None:
    assert link([_faces()] * 4, [torch.zeros(0, 8)] * 4) == []
    tracks = link([_faces((9, 9)), _faces(), _faces((9, 9))], [ANNA[None], torch.zeros(0, 8), ANNA[None]])
    assert [sorted(track.faces) for track in tracks] == [[0, 2]]


def _track(frames: range, person: Tensor, x: float) -> Track:
    track = Track()
    for frame in frames:
        track.add(frame, 0, _faces((x, 40)).boxes[0, :4], torch.nn.functional.normalize(_near(person, frame), dim=0))
    return track


def test_tracks_are_matched_to_people_not_to_their_order() -> None:
    tracks = [_track(range(10), BERT, 80), _track(range(10), CARA, 140), _track(range(10), ANNA, 30)]
    assert assign(tracks, torch.stack([ANNA, BERT])) == [1, None, 0]
    assert assign([], torch.stack([ANNA])) == []
    assert assign(tracks[:1], torch.zeros(0, 8)) == [None]


def test_a_face_that_drifts_off_its_track_still_counts_but_a_bystander_does_not() -> None:
    drifted, bystander = _track(range(10, 20), CARA, 32), _track(range(10, 20), CARA, 150)
    assert assign([_track(range(10), ANNA, 30), drifted], ANNA[None]) == [0, 0]
    assert assign([_track(range(10), ANNA, 30), bystander], ANNA[None]) == [0, None]
    assert assign([_track(range(20), ANNA, 30), drifted], ANNA[None]) == [0, None]


def test_overlap_of_boxes() -> None:
    table = iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]))
    torch.testing.assert_close(table, torch.tensor([[1.0, 1 / 3, 0.0]]))
