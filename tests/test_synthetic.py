"""Synthetic faces: invariants of the sampler and its protocol, golden size of the file, the privacy check on data."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Ended
from facelet.data import synthetic
from facelet.data.synthetic import FILE, FaceModel, synthetic_faces, synthetic_pairs
from facelet.data.synthetic_build import bent_texture, components, held_out, inverse_field, pixel_weights
from facelet.data.synthetic_check import check_privacy, project
from facelet.data.transfer import TransferSet, open_transfer_set
from facelet.errors import InputError, MissingFileError, ModelError, TransferSetError


def digest(crops: NDArray[np.uint8]) -> str:
    return hashlib.sha256(crops.tobytes()).hexdigest()


def small_grey(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A recognizer for tests: the middle of the face, 12x12 grey, brightness and contrast removed, unit length."""
    grey = [cv2.resize(cv2.cvtColor(crop[36:112, 34:94], cv2.COLOR_RGB2GRAY), (12, 12)) for crop in crops]
    flat = np.asarray(grey, np.float32).reshape(len(crops), -1)
    flat -= flat.mean(1, keepdims=True)
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True), np.float32)


def test_shapes_and_ranges() -> None:
    """Invariant: crops on the transfer set's canvas, landmarks inside it in the order of scheme "five"."""
    crops, identity, landmarks = synthetic_faces(3, 4, seed=0)
    assert crops.shape == (12, 128, 128, 3)
    assert crops.dtype == np.uint8
    assert identity.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert landmarks.shape == (12, 5, 2)
    assert landmarks.dtype == np.float32
    assert (landmarks[:, 0, 0] < landmarks[:, 1, 0]).all()
    assert (landmarks[:, 3, 0] < landmarks[:, 4, 0]).all()
    assert np.abs(landmarks.mean(0) - FaceModel.load().landmarks).max() < 8
    assert crops.std(axis=(1, 2, 3)).min() > 10


def test_a_batch_equals_its_items() -> None:
    """Invariant: a photo does not depend on the batch it is drawn in."""
    crops, _, landmarks = synthetic_faces(5, 15, seed=7)
    model = FaceModel.load()
    for row in (0, 17, 74):
        crop, points = model.render(model.sample_identity(7, row // 15), row % 15)
        assert np.array_equal(crop, crops[row])
        assert np.array_equal(points, landmarks[row])


def test_same_pixels_in_another_process() -> None:
    """Invariant: the seed alone decides, also with other numbers of threads."""
    code = (
        "import hashlib; from facelet.data.synthetic import synthetic_faces;"
        "print(hashlib.sha256(synthetic_faces(4, 3, seed=11)[0].tobytes()).hexdigest())"
    )
    mine = digest(synthetic_faces(4, 3, seed=11)[0])
    for threads in ("1", "2"):
        environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == mine


def test_seeds_streams_and_people_differ() -> None:
    """Invariant: no crop appears twice, over seeds, streams, people and photos."""
    faces = [synthetic_faces(6, 5, seed=seed)[0] for seed in (0, 1)]
    faces.append(synthetic_pairs(40, seed=0)[1])
    every = np.concatenate(faces)
    assert len({digest(crop) for crop in every}) == len(every)
    model = FaceModel.load()
    train, test = model.sample_identity(0, 0), model.sample_identity(0, 0, "pairs")
    assert not np.allclose(train.coefficients, test.coefficients)


def test_photos_of_one_person_are_alike() -> None:
    """Invariant: even small grey thumbnails tell most pairs apart, and not all."""
    pairs, crops = synthetic_pairs(600, seed=3)
    embedding = small_grey(crops)
    distance = np.square(embedding[pairs.left] - embedding[pairs.right]).sum(1)
    genuine, impostor = distance[pairs.same], distance[~pairs.same]
    auc = np.mean(genuine[:, None] < impostor[None, :])
    assert 0.70 < auc < 0.97


def test_pairs_are_a_balanced_protocol() -> None:
    """Invariant: 10 folds, half genuine, each person in one fold, labels true to the people shown."""
    pairs, crops = synthetic_pairs(120, seed=5)
    assert len(crops) == len(pairs.images) == pairs.n_pairs == 120
    person = np.array([name.rsplit("-", 1)[0] for name in pairs.images])
    assert np.array_equal(person[pairs.left] == person[pairs.right], pairs.same)
    assert (pairs.left != pairs.right).all()
    folds_of: dict[str, set[int]] = {}
    for fold in range(10):
        rows = pairs.fold == fold
        assert rows.sum() == 12
        assert pairs.same[rows].sum() == 6
        for name in np.concatenate([person[pairs.left[rows]], person[pairs.right[rows]]]):
            folds_of.setdefault(str(name), set()).add(fold)
    assert {len(folds) for folds in folds_of.values()} == {1}


def test_landmarks_follow_the_pose() -> None:
    """Invariant: a face drawn with landmarks in its texture shows them where the sampler says."""
    model = FaceModel.load()
    texture = np.full_like(model.mean, 128)
    luma = texture[: synthetic.LUMA**2].reshape(synthetic.LUMA, synthetic.LUMA)
    for x, y in (model.landmarks + 0.5) * synthetic.LUMA / synthetic.CANVAS - 0.5:
        luma[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = 255
    marked = FaceModel(**{**vars(model), "mean": texture, "basis": np.zeros_like(model.basis)})
    for index in range(5):
        crops, points = marked.render_many([(model.sample_identity(2, index), 0)], clean=True)
        grey = crops[0, :, :, 0].astype(int)
        for x, y in points[0]:
            window = grey[round(float(y)) - 2 : round(float(y)) + 3, round(float(x)) - 2 : round(float(x)) + 3]
            assert window.max() > 220


def test_the_file_is_small_and_shared() -> None:
    """Golden: at most 3 MB, and every component comes from hundreds of photos at least."""
    assert synthetic.FILE.stat().st_size <= 3_000_000
    model = FaceModel.load()
    assert model.n_images > 10_000
    assert model.n_identities > 300
    assert model.effective_images.min() > 500
    # whole numbers below 2**24 keep float32 sums exact
    largest = np.abs(model.between).sum(0) * 2 * synthetic.BETWEEN_SCALE + np.abs(model.within).sum(0)
    whole = largest[: len(model.basis)] * model.basis_scale * 4096
    typical = np.sqrt(np.square(whole[:, None] * model.basis[:, ::37]).sum(0))
    assert typical.max() < 2**24


@pytest.mark.parametrize("call", [lambda: synthetic_pairs(50, 0), lambda: synthetic_pairs(0, 0)])
def test_pairs_that_do_not_balance_are_refused(call: Callable[[], object]) -> None:
    """Invariant: a clear error instead of an uneven protocol."""
    with pytest.raises(InputError, match="multiple of 20"):
        call()


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    """Invariant: every refusal is an error of the tree and names the value."""
    model = FaceModel.load()
    with pytest.raises(InputError, match="0 identities"):
        synthetic_faces(0, 1, 0)
    with pytest.raises(InputError, match="seed -1"):
        model.sample_identity(-1, 0)
    with pytest.raises(InputError, match="stream 'x'"):
        model.sample_identity(0, 0, "x")
    with pytest.raises(InputError, match="photo index -2"):
        model.render(model.sample_identity(0, 0), -2)
    with pytest.raises(MissingFileError, match="facelet synthetic build"):
        FaceModel.load(tmp_path / "no.npz")
    for content in (b"not a zip", FILE.read_bytes()[:3000], b""):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ModelError, match="not a face model"):
            FaceModel.load(tmp_path / "bad.npz")


def test_inverse_field_undoes_the_field() -> None:
    """Oracle: looking up through a field and then through its inverse gives the picture back."""
    random = np.random.default_rng(0)
    coarse = random.uniform(-4, 4, (4, 4, 2)).astype(np.float32)
    field = np.asarray(cv2.resize(coarse, (16, 16), interpolation=cv2.INTER_CUBIC), np.float32)
    inverse = inverse_field(field)
    axis = np.arange(16, dtype=np.float32)
    grid = np.dstack(np.meshgrid(axis, axis)).astype(np.float32)
    place = grid + inverse / 8
    back = cv2.remap(field, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs((inverse + back)[3:-3, 3:-3]).max() < 0.15


def test_components_match_a_full_decomposition() -> None:
    """Oracle: the randomised decomposition spans what NumPy's full one does."""
    random = np.random.default_rng(0)
    mixed = (random.standard_normal((300, 8)) * 2.0 ** -np.arange(8)) @ random.standard_normal((8, 60))
    values = np.asarray(mixed + 5, np.float32)
    found = components(values.copy(), 5, seed=0)
    _, _, rows = np.linalg.svd(values - values.mean(0), full_matrices=False)
    assert np.abs(np.abs(found.basis @ rows[:5].T) - np.eye(5)).max() < 1e-2
    assert np.allclose(found.mean, values.mean(0), atol=1e-4)


def test_a_sample_projects_onto_itself() -> None:
    """Invariant: the model can draw its own faces; what it loses of a real one is not the projection's fault."""
    model = FaceModel.load()
    crops, _ = model.render_many([(model.sample_identity(1, index), 0) for index in range(4)], clean=True)
    drawn, left = project(model, crops)
    assert left.max() < 8
    assert np.abs(drawn[:, 32:112, 32:96].astype(int) - crops[:, 32:112, 32:96]).mean() < 8
    assert bent_texture(crops[0], np.zeros((16, 16, 2), np.float32)).shape == pixel_weights().shape


def test_sampled_folder_is_a_transfer_set(cli: Callable[..., Ended], tmp_path: Path) -> None:
    """Invariant: what `synthetic sample` writes opens as a labelled transfer set, with one label a person."""
    out = tmp_path / "people"
    ended = cli("synthetic", "sample", "--out", out, "--identities", 3, "--photos", 2, "--json")
    assert ended.code == 0, ended.err
    assert (out / "contact_sheet.png").stat().st_size > 1000
    faces = open_transfer_set(out / "faces", tmp_path / "cache")
    assert faces.n_images == 6
    assert len(faces.labelled(2)) == 6
    assert len(np.unique(faces.identity)) == 3
    again = cli("synthetic", "sample", "--out", out, "--identities", 1, "--photos", 1)
    assert again.code == 2
    assert "people: is there already; nothing is overwritten" in again.err
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_check_refuses_a_small_set() -> None:
    """Invariant: a privacy check over too few photos is refused, not passed."""
    crops, identity, _ = synthetic_faces(10, 4, seed=0)
    few = TransferSet(crops, identity, np.zeros(len(crops), np.int64), ("synthetic",), "key")
    assert held_out(few).sum() == 4
    with pytest.raises(TransferSetError, match="too few"):
        check_privacy(FaceModel.load(), few, small_grey)


def test_check_refuses_another_set() -> None:
    """Invariant: who was learned from is known only for the set that the model was built from."""
    crops, identity, _ = synthetic_faces(200, 4, seed=0)
    other = TransferSet(crops, identity, np.zeros(len(crops), np.int64), ("synthetic",), "key")
    with pytest.raises(TransferSetError, match="the very set"):
        check_privacy(FaceModel.load(), other, small_grey)


@pytest.mark.data
@pytest.mark.slow
def test_no_training_photo_is_given_away(data_dir: Path, tmp_path: Path) -> None:
    """Invariant, quick form of `facelet synthetic check`: samples lie as far from training photos as strangers do."""
    faces = open_transfer_set(data_dir / "transfer", tmp_path)
    report, _ = check_privacy(FaceModel.load(), faces, small_grey, n_samples=200, limit=3000)
    del faces
    shutil.rmtree(tmp_path / "transfer")  # gigabytes that no later run needs
    assert report.pixel_sample.median > 0.7 * report.pixel_held_out.median
    assert 0.4 < report.membership_auc_pixel < 0.6
    assert 0.4 < report.membership_auc_embedding < 0.6
