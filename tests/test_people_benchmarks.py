"""Invariant: the measurements beyond pairs on a very small LFW and a very small transfer set, and their command."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drawn_faces import draw_face, write_photo
from facelet.canvas import embed_canvas
from facelet.data.heldout import heldout_identities
from facelet.data.lfw import PAIR_FILES, read_pairs
from facelet.data.people import load_lfw_people
from facelet.data.transfer import open_transfer_set
from facelet.embedder import Embedder
from facelet.evaluate.clustering import ClusterScores, sweep_clusters
from facelet.evaluate.identification import identify_all
from facelet.linkage import MergeTree
from facelet.model_files import file_label, load_model
from facelet.people_benchmarks import PEOPLE_BENCHMARKS, Request, measure
from tiny_lfw import write_lfw
from tiny_models import photo_model

if TYPE_CHECKING:
    from conftest import Ended

VIEW_2 = """2\t2
Ada_Lovelace\t1\t2
Alan_Turing\t1\t2
Ada_Lovelace\t1\tMary_Somerville\t1
Ada_Lovelace\t3\tSofja_Kowalewskaja\t3
Emmy_Noether\t1\t2
Grace_Hopper\t1\t2
Emmy_Noether\t1\tGrace_Hopper\t1
Emmy_Noether\t2\tGrace_Hopper\t2
"""


@pytest.fixture(scope="module")
def lfw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny LFW and two people with one image, one of them not the first; an image that no list names."""
    folder = write_lfw(tmp_path_factory.mktemp("data"))
    (folder / "pairs.txt").write_text(VIEW_2)
    for seed, name in (
        (49, "Ada_Lovelace_0003"),
        (50, "Mary_Somerville_0001"),
        (51, "Sofja_Kowalewskaja_0003"),
        (52, "Mary_Somerville_0002"),
    ):
        write_photo(folder / "lfw" / name[:-5] / f"{name}.jpg", draw_face(seed, 160))
    return folder


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of 24 held-out people, half of them with two crops, and 6 others."""
    return write_shard(tmp_path_factory.mktemp("shard") / "transfer-0.tar", lambda place: 1 if place % 2 else 2)


def write_shard(path: Path, photos: Callable[[int], int]) -> Path:
    """24 held-out people and 6 others, with so many crops each."""
    names = [f"person-{number}" for number in range(2000)]
    held = heldout_identities(names)
    chosen = [*np.flatnonzero(held)[:24], *np.flatnonzero(~held)[:6]]
    with tarfile.open(path, "w") as tar:
        for place, number in enumerate(chosen):
            for photo in range(photos(place)):
                pixels = cv2.imencode(".png", draw_face(100 + 10 * place + photo, 128))[1].tobytes()
                label = json.dumps({"source": "drawn", "identity": names[number]}).encode()
                for suffix, content in ((".png", pixels), (".json", label)):
                    member = tarfile.TarInfo(f"{place:03d}{photo}{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder.load(photo_model(tmp_path_factory.mktemp("model") / "photo.onnx"), threads=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run(embedder: Embedder, benchmark: str, data: Path, cache: Path, **options: Any) -> dict[str, Any]:
    return measure(Request(embedder, benchmark, data, cache=cache, **options)).to_dict()


def test_people_are_those_of_the_lists(lfw: Path) -> None:
    people, _ = load_lfw_people(lfw)
    assert len(people.images) == 11
    assert people.n_people == 6
    assert "Mary_Somerville/Mary_Somerville_0002.jpg" not in people.images
    assert people.images == tuple(sorted(people.images))
    assert people.at_least(2).tolist() == list(range(9))


def test_identification_has_the_first_images_as_gallery(embedder: Embedder, lfw: Path, cache: Path) -> None:
    found = run(embedder, "lfw-identification", lfw, cache)
    assert (found["n_gallery"], found["n_probes"], found["n_impostors"]) == (4, 5, 2)
    assert (found["detector"], found["benchmark"], found["n_images"]) == ("dlib_refined", "lfw-identification", 11)
    assert found["rank"]["1"] <= found["rank"]["5"] == 1.0
    flipped = run(embedder, "lfw-identification", lfw, cache, flip=True)
    assert flipped["thresholds"] != found["thresholds"]


def test_clustering_scores_people_with_two_images(
    embedder: Embedder, lfw: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[list[int]] = []

    def sweep(tree: MergeTree, person: NDArray[np.int64]) -> list[ClusterScores]:
        compared.append(np.unique(person, return_inverse=True)[1].tolist())
        return sweep_clusters(tree, person)

    monkeypatch.setattr("facelet.people_benchmarks.sweep_clusters", sweep)
    found = run(embedder, "lfw-clustering", lfw, cache)
    assert (found["n_faces"], found["n_people"]) == (9, 4)
    assert found["at_card"]["threshold"] == embedder.card.thresholds["1e-3"]
    assert compared == [[0, 0, 0, 1, 1, 2, 2, 3, 3]]  # Ada thrice, Alan, Emmy and Grace twice
    assert found["best"]["bcubed_f"] == max(score["bcubed_f"] for score in found["sweep"])


def test_heldout_people_alone_are_measured(embedder: Embedder, shard: Path, cache: Path) -> None:
    found = run(embedder, "heldout", shard, cache)
    assert (found["n_images"], found["n_people"], found["n_people_with_two"]) == (36, 24, 12)
    assert found["trained_without_heldout"] is False
    assert found["couples"]["n_genuine"] == 12
    assert found["couples"]["n_impostor"] == 36 * 35 // 2 - 12
    assert found["verification"]["n_pairs"] == 24
    # oracle: the gallery joined by hand from the transfer set itself
    transfer = open_transfer_set(shard, cache)
    held = np.flatnonzero(heldout_identities(transfer.identities)[transfer.identity])
    vectors = embed_canvas(embedder, np.asarray(transfer.crops[held]))
    expected = identify_all(vectors, np.unique(transfer.identity[held], return_inverse=True)[1])
    assert found["identification"]["rank"]["1"] == expected.rank_rate(1)
    assert found["identification"]["dir"]["1e-1"] == expected.dir_at_far(0.1)


def test_without_impostors_there_is_no_open_set(embedder: Embedder, tmp_path: Path) -> None:
    found = run(embedder, "heldout", write_shard(tmp_path / "transfer-0.tar", lambda _place: 2), tmp_path / "cache")
    identification = found["identification"]
    assert (identification["n_gallery"], identification["n_impostors"]) == (24, 0)
    assert (identification["dir"], identification["thresholds"]) == ({}, {})
    assert identification["rank"].keys() == {"1", "5"}


def test_the_page_s_command_for_heldout_people_is_taken(
    shard: Path, tmp_path: Path, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "studies" / "beyond-lfw.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("    facelet") and "--benchmark heldout" in line)
    given = {"MODEL": str(photo_model(tmp_path / "photo.onnx")), "TRANSFER": str(shard)}
    monkeypatch.chdir(tmp_path)
    ended = cli(*(given.get(word, word) for word in line.split()[1:]))
    assert ended.code == 0, ended.err


def test_robustness_at_the_clean_strength_is_view_1(embedder: Embedder, lfw: Path, cache: Path) -> None:
    from facelet.benchmark import evaluate

    found = run(embedder, "robustness", lfw, cache)
    view_1 = evaluate(embedder, "lfw", lfw, view=1, cache=cache)
    assert found["clean_accuracy"] == view_1.accuracy
    assert found["threshold"] == view_1.fold_thresholds[0]
    assert found["accuracy"]["blur"]["0"] == found["accuracy"]["brightness"]["1"] == view_1.accuracy
    assert found["n_pairs"] == 4
    assert {name: len(by) for name, by in found["accuracy"].items()} == {
        "blur": 5, "jpeg": 5, "resolution": 5, "occlusion": 5, "brightness": 6
    }  # fmt: skip


@pytest.mark.parametrize(
    "benchmark", [pytest.param(name, marks=[pytest.mark.slow] * (name == "trouble")) for name in PEOPLE_BENCHMARKS]
)
def test_the_command_prints_what_it_writes(
    benchmark: str, lfw: Path, shard: Path, tmp_path: Path, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = photo_model(tmp_path / "photo.onnx")
    data = shard if benchmark == "heldout" else lfw
    ended = cli("evaluate", model, "--data", data, "--benchmark", benchmark, "--json", "--threads", 1)
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "runs" / "evaluate").iterdir()
    assert folder.name == f"{file_label(load_model(model))}-{benchmark}" + (
        "" if benchmark == "heldout" else "-dlib_refined"
    )
    assert json.loads((folder / "report.json").read_text()) == json.loads(ended.out)
    plots = [path for path in folder.iterdir() if path.suffix == ".png"]
    assert plots
    assert all(cv2.imread(str(path)) is not None for path in plots)
    table = cli("evaluate", model, "--data", data, "--benchmark", benchmark, "--quiet", "--out", tmp_path / "o")
    assert (table.code, table.err) == (0, "")
    assert f"photo on {benchmark}" in table.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--benchmark", "lfw-identifcation"], "did you mean 'lfw-identification'"),
        (["--benchmark", "robustness", "--view", "1"], "leave --view"),
        (["--benchmark", "heldout", "--no-align"], "leave out --no-align"),
        (["--benchmark", "heldout"], "holds neither shards"),
        (["--benchmark", "lfw-clustering"], "pairsDevTrain.txt"),
    ],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, cli: Callable[..., Ended]
) -> None:
    (tmp_path / "empty").mkdir()
    model = photo_model(tmp_path / "photo.onnx")
    ended = cli("evaluate", model, "--data", tmp_path / "empty", *arguments, "--quiet")
    assert ended.code == 2
    assert complaint in ended.err
    assert (ended.err.count("\n"), ended.out) == (1, "")


@pytest.mark.data
def test_the_published_lists_name_9056_images(data_dir: Path) -> None:
    """Golden: the counts that the docs state, from the lists alone."""
    lists = [read_pairs(data_dir / "lfw" / name) for name in PAIR_FILES.values()]
    names = [key.split("/")[0] for key in {key for pairs in lists for key in pairs.images}]
    counts = np.unique(names, return_counts=True)[1]
    assert (len(names), len(counts), int((counts > 1).sum()), int((counts == 1).sum())) == (9056, 4911, 1650, 3261)
    assert int(counts[counts > 1].sum()) == 5795
