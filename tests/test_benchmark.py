"""Invariant: the whole way from photos to figures on a very small LFW, and its two commands."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drawn_faces import draw_face
from facelet.benchmark import _impostor_distances, calibrate, evaluate
from facelet.data.lfw import load_lfw
from facelet.data.pairs import Pairs
from facelet.embedder import Embedder
from facelet.errors import InputError, MissingFileError, ProtocolError, UnknownNameError
from facelet.evaluate.report import verify_pairs
from facelet.faces.align import align
from facelet.faces.detect import YuNetDetector
from facelet.faces.detectors import load_detector
from facelet.faces.images import read_image
from facelet.faces.selection import main_face
from facelet.model_files import file_label, load_model
from tiny_lfw import write_lfw
from tiny_models import photo_model

if TYPE_CHECKING:
    from conftest import Ended


@pytest.fixture(scope="module")
def lfw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lfw(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder.load(photo_model(tmp_path_factory.mktemp("model") / "photo.onnx"), threads=1)


def write_packed(path: Path, n_pairs: int = 40) -> Path:
    images, same = [], []
    for number in range(n_pairs):
        genuine = number % 2 == 0
        for seed in (number, number + (0 if genuine else 1000)):
            _, content = cv2.imencode(".png", draw_face(seed, 112))
            images.append(content.tobytes())
        same.append(genuine)
    path.write_bytes(pickle.dumps((images, same)))
    return path


def test_view_2_is_the_parts_joined_by_hand(lfw: Path, cache: Path, embedder: Embedder) -> None:
    pairs, root = load_lfw(lfw)
    detector = load_detector("dlib_refined")
    crops = []
    for key in pairs.images:
        image = read_image(root / key)
        crops.append(align(image, main_face(detector.detect(image), *image.shape[:2]), "arcface", 112, 112))
    expected = verify_pairs(embedder.embed(np.stack(crops)), pairs)
    report = evaluate(embedder, "lfw", lfw, detector=detector, cache=cache)
    assert report.accuracy == expected.accuracy
    assert report.auc == expected.auc
    np.testing.assert_array_equal(report.distances, expected.distances)
    setting = report.to_dict()
    assert (setting["n_pairs"], setting["n_images"], setting["n_faces_not_found"]) == (8, 8, 0)
    assert (setting["view"], setting["flip"], setting["aligned"]) == (2, False, True)
    assert (setting["detector"], setting["template"]) == ("dlib_refined", "arcface")
    assert setting["model_sha256"] == embedder.model.sha256


def test_view_1_reports_the_test_part_alone(lfw: Path, cache: Path, embedder: Embedder) -> None:
    report = evaluate(embedder, "lfw", lfw, view=1, cache=cache)
    assert report.n_pairs == 4
    assert report.accuracy_std is None
    assert len(report.fold_thresholds) == 1


def test_flip_and_box_change_the_figures_and_say_so(lfw: Path, cache: Path, embedder: Embedder) -> None:
    plain = evaluate(embedder, "lfw", lfw, cache=cache)
    flipped = evaluate(embedder, "lfw", lfw, flip=True, cache=cache)
    box = evaluate(embedder, "lfw", lfw, align=False, cache=cache)
    assert flipped.setting["flip"] is True
    assert (box.setting["template"], box.setting["aligned"]) == ("box", False)
    assert not np.array_equal(plain.distances, flipped.distances)
    assert not np.array_equal(plain.distances, box.distances)
    assert plain.setting["data_sha256"] == flipped.setting["data_sha256"] == box.setting["data_sha256"]


def test_flip_embeds_a_photo_and_its_mirror_alike(tmp_path: Path, cache: Path, embedder: Embedder) -> None:
    """With flip averaging a crop and its mirror image are one point."""
    pixels = [draw_face(n, 112) for n in range(20)]
    images: list[bytes] = []
    for number, image in enumerate(pixels):
        other: NDArray[np.uint8] = image[:, ::-1] if number % 2 == 0 else pixels[(number + 7) % 20]
        images += [cv2.imencode(".png", np.ascontiguousarray(part))[1].tobytes() for part in (image, other)]
    path = tmp_path / "mirror.bin"
    path.write_bytes(pickle.dumps((images, [number % 2 == 0 for number in range(20)])))
    report = evaluate(embedder, data=path, flip=True, cache=cache)
    assert report.distances[report.same].max() < 1e-6
    assert report.accuracy == 1.0


def test_packed_pairs_ask_no_detector(tmp_path: Path, cache: Path, embedder: Embedder) -> None:
    path = write_packed(tmp_path / "calfw.bin")
    report = evaluate(embedder, "calfw", tmp_path, cache=cache)
    assert report.n_pairs == 40
    assert report.accuracy == 1.0  # genuine pairs are the same image
    assert report.setting["detector"] is None
    assert report.setting["benchmark"] == "calfw"
    assert evaluate(embedder, data=path, cache=cache).accuracy == 1.0
    with pytest.raises(InputError, match="come aligned"):
        evaluate(embedder, "calfw", tmp_path, align=False, cache=cache)


def test_what_cannot_be_evaluated_is_refused(tmp_path: Path, cache: Path, embedder: Embedder) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'calfw'"):
        evaluate(embedder, "calfv", tmp_path, cache=cache)
    with pytest.raises(MissingFileError, match=r"cplfw\.bin"):
        evaluate(embedder, "cplfw", tmp_path, cache=cache)
    with pytest.raises(MissingFileError, match="absent"):
        evaluate(embedder, "lfw", tmp_path / "absent", cache=cache)
    with pytest.raises(InputError, match="view: 3"):
        evaluate(embedder, "lfw", tmp_path, view=3, cache=cache)


def test_calibration_counts_impostors_by_hand(
    lfw: Path, cache: Path, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProtocolError, match="18 impostor pairs"):
        # view 1 names 3 + 4 images of four people: 2 + 1 and 2 + 2, so 21 couples less 3 of one person
        calibrate(embedder, lfw, cache=cache)
    packed = write_packed(tmp_path / "many.bin", 40)
    with pytest.raises(ProtocolError, match="20 impostor pairs"):
        calibrate(embedder, packed, cache=cache)
    monkeypatch.setattr("facelet.benchmark.MIN_IMPOSTORS", 10)
    result = calibrate(embedder, packed, cache=cache)
    report = evaluate(embedder, data=packed, cache=cache)
    # 20 impostor pairs allow no false accept at either rate: both thresholds are the smallest distance
    assert result.thresholds == {"1e-2": float(report.distances[~report.same].min())} | {
        "1e-3": float(report.distances[~report.same].min())
    }
    assert result.n_impostors == 20


def test_impostors_are_all_couples_of_different_names() -> None:
    """Oracle: a double loop, over more images than one block holds."""
    random = np.random.default_rng(0)
    images = tuple(f"name{random.integers(0, 40)}/{n}.jpg" for n in range(300))
    vectors = random.standard_normal((300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    none = np.zeros(0, dtype=np.int64)
    pairs = Pairs(images, none, none, none.astype(np.bool_), none)
    expected = [
        float(np.square(vectors[a] - vectors[b]).sum())
        for a in range(300)
        for b in range(a + 1, 300)
        if images[a].split("/")[0] != images[b].split("/")[0]
    ]
    np.testing.assert_allclose(_impostor_distances(vectors, pairs), expected, atol=1e-5)


def test_the_command_prints_what_it_writes(
    lfw: Path, tmp_path: Path, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = photo_model(tmp_path / "photo.onnx")
    ended = cli("evaluate", model, "--data", lfw, "--json", "--threads", 1)
    assert ended.code == 0
    printed = json.loads(ended.out)
    folder = tmp_path / "runs" / "evaluate" / f"{file_label(load_model(model))}-lfw-view2-dlib_refined"
    assert json.loads((folder / "report.json").read_text()) == printed
    assert {path.name for path in folder.iterdir()} == {"report.json", "roc.png", "distances.png"}
    for key in ("accuracy", "accuracy_std", "auc", "eer", "tar", "thresholds", "n_pairs", "n_faces_not_found"):
        assert key in printed
    quiet = cli("evaluate", model, "--data", lfw, "--quiet", "--no-align", "--flip", "--out", tmp_path / "out")
    assert quiet.code == 0
    assert quiet.err == ""
    assert "flip averaging" in quiet.out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["template"] == "box"
    monkeypatch.setattr("facelet.evaluate.png.can_plot", lambda: False)
    monkeypatch.setattr("facelet.evaluate.report.can_plot", lambda: False)
    plain = cli("evaluate", model, "--data", lfw, "--json", "--threads", 1, "--out", tmp_path / "plain")
    assert json.loads(plain.out)["accuracy"] == printed["accuracy"]
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["report.json"]
    assert "pip install 'facelet[plots]'" in plain.err


def test_calibrate_writes_the_card(tmp_path: Path, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facelet.benchmark.MIN_IMPOSTORS", 10)
    model = photo_model(tmp_path / "photo.onnx")
    before = load_model(model)
    packed = write_packed(tmp_path / "p.bin")
    ended = cli("calibrate", model, "--data", packed, "--json")
    assert ended.code == 0, ended.err
    after = load_model(model)
    assert after.card.thresholds == json.loads(ended.out)["thresholds"]
    assert after.card.thresholds != before.card.thresholds
    assert after.card.name == before.card.name
    crops = np.zeros((1, 112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        Embedder.load(model).embed(crops), Embedder.load(model, card=before.card).embed(crops)
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["evaluate", "MODEL", "--data", "absent"], "absent: no such file or folder"),
        (["evaluate", "MODEL", "--data", "EMPTY"], "pairs.txt"),
        (["evaluate", "MODEL", "--data", "EMPTY", "--benchmark", "lfww"], "did you mean 'lfw'"),
        (["evaluate", "MODEL", "--data", "EMPTY", "--benchmark", "cfp_fp"], "cfp_fp.bin"),
        (["evaluate", "MODEL", "--data", "LFW", "--view", "3"], "view: 3"),
        (["evaluate", "MODEL", "--data", "LFW", "--detector", "dlip"], "did you mean 'dlib'"),
        (["evaluate", "MODEL", "--data", "LFW", "--detector", "yunet", "--detector-model", "absent"], "absent"),
        (["evaluate", "facelet_z", "--data", "LFW"], "did you mean"),
        (["evaluate", "MODEL", "--data", "MODEL"], "not a pickle of packed pairs"),
        (["evaluate", "MODEL", "--data", "LFW", "--out", "MODEL"], "is a file; give a folder"),
        (["evaluate", "MODEL"], "--data"),
        (["evaluate"], "MODEL"),
        (["calibrate", "MODEL", "--data", "absent"], "absent"),
        (["calibrate", "MODEL", "--data", "LFW"], "impostor pairs"),
    ],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str],
    complaint: str,
    lfw: Path,
    tmp_path: Path,
    cli: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    names = {"MODEL": str(photo_model(tmp_path / "photo.onnx")), "LFW": str(lfw), "EMPTY": str(tmp_path / "empty")}
    ended = cli(*(names.get(argument, argument) for argument in arguments), "--quiet")
    assert ended.code == 2
    assert complaint in ended.err
    assert ended.err.count("\n") == 1
    assert ended.out == ""


@pytest.mark.data
def test_a_teacher_tells_people_apart(data_dir: Path, tmp_path: Path) -> None:
    """Golden: 30 genuine and 30 impostor pairs of View 1, YuNet alignment, all but at most one told rightly."""
    pytest.importorskip("openvino")
    import tarfile

    genuine = (data_dir / "lfw" / "pairsDevTest.txt").read_text().splitlines()[1:31]
    impostor = (data_dir / "lfw" / "pairsDevTest.txt").read_text().splitlines()[501:531]
    lines = ["2\t15", *genuine[:15], *impostor[:15], *genuine[15:], *impostor[15:]]
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    wanted = set()
    for line in (*genuine, *impostor):
        words = line.split("\t")
        couples = [(words[0], words[1]), (words[0], words[2])] if len(words) == 3 else [words[:2], words[2:]]
        wanted |= {f"lfw/{name}/{name}_{int(number):04d}.jpg" for name, number in couples}
    with tarfile.open(data_dir / "lfw" / "lfw-deepfunneled-views1-2.tar.gz") as tar:
        tar.extractall(tmp_path, [member for member in tar if member.name in wanted], filter="data")
    teacher = data_dir / "teachers" / "face-reidentification-retail-0095" / "face-reidentification-retail-0095.xml"
    report = evaluate(
        Embedder.load(teacher, threads=1),
        data=tmp_path,
        detector=YuNetDetector(data_dir / "detectors" / "yunet_n_dynamic.onnx"),
        cache=tmp_path / "cache",
    )
    assert report.n_faces_not_found == 0
    assert report.accuracy >= 0.95
    assert report.auc > 0.99


def test_packed_lfw_sets_no_threshold_as_it_is_view_2(tmp_path: Path, cache: Path, embedder: Embedder) -> None:
    with pytest.raises(ProtocolError, match=r"lfw\.bin: packed LFW is View 2, which stays unseen"):
        calibrate(embedder, write_packed(tmp_path / "lfw.bin"), cache=cache)


def test_what_no_card_holds_is_refused_before_it_is_measured(
    cli: Callable[..., Ended], lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_arguments: object, **_options: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("facelet.benchmark.evaluate", measure)
    model = photo_model(tmp_path / "m.onnx")
    for option in ("--flip", "--no-align"):
        ended = cli("evaluate", model, "--data", lfw, "--record", option, "--out", tmp_path / "out")
        assert ended.code == 2
        assert "--record: a card holds aligned figures without flip averaging" in ended.err


def test_a_file_of_ones_own_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    own = load_model(photo_model(tmp_path / "m.onnx"))
    assert file_label(own) == f"photo-{own.sha256[:8]}"
    assert file_label(load_model("facelet_xs")) == "facelet_xs"
