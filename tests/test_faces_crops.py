"""Invariant: cached crops are the crops; a damaged cache is made again; faces not found are counted."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from drawn_faces import draw_face, write_photo
from facelet.errors import ImageError, InputError, MissingFileError, UnknownNameError
from facelet.faces.align import align, center_crop
from facelet.faces.crops import CropCache, benchmark_faces, crop_benchmark, crop_packed
from facelet.faces.detect import Face
from facelet.faces.images import read_image
from facelet.faces.templates import TEMPLATES


class BrightDetector:
    """Finds one face in every photo whose mean is above 50, and counts its calls."""

    name = "bright"

    def __init__(self, version: str = "1", scale: float = 1.0) -> None:
        self.version = version
        self.scale = scale
        self.calls = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        self.calls += 1
        if image.mean() < 50:
            return []
        landmarks = TEMPLATES["arcface"].points["five"] * self.scale + 10
        return [Face((10.0, 10.0, 110.0, 110.0), 0.9, landmarks, "five")]

    def guess(self, image: NDArray[np.uint8]) -> Face | None:
        """Takes what is not quite black for a face."""
        landmarks = TEMPLATES["arcface"].points["five"] * self.scale + 5
        return Face((5.0, 5.0, 105.0, 105.0), 0.1, landmarks, "five") if image.mean() > 5 else None


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    images = [draw_face(0, 130), np.zeros((130, 130, 3), dtype=np.uint8), draw_face(1, 130)]
    return [write_photo(tmp_path / "photos" / f"{n}.png", image) for n, image in enumerate(images)]


@pytest.fixture
def cache(tmp_path: Path) -> CropCache:
    return CropCache(tmp_path / "cache")


def test_a_face_that_is_not_found_is_guessed(tmp_path: Path, cache: CropCache) -> None:
    photo = write_photo(tmp_path / "dark.png", np.full((130, 130, 3), 20, dtype=np.uint8))
    detector = BrightDetector()
    for _ in range(2):  # the second time from the table
        made = crop_benchmark([photo], detector, "arcface", 64, 64, cache)
        (face,) = benchmark_faces([photo], detector, cache)
        assert made.found.tolist() == [True]
        assert face is not None
        assert face.score == 0.1
    assert detector.calls == 1


def test_somebody_in_the_background_is_not_the_face_of_the_photo(tmp_path: Path, cache: CropCache) -> None:
    """Where no found face covers the centre, the guess does; without one the found face is all there is."""
    points = TEMPLATES["arcface"].points["five"]
    beside = Face((0.0, 0.0, 50.0, 50.0), 2.0, points * 0.4, "five")
    central = Face((30.0, 30.0, 110.0, 110.0), -0.6, points * 0.7 + 25, "five")

    class Bystander(BrightDetector):
        def detect(self, image: NDArray[np.uint8]) -> list[Face]:
            return [beside]

        def guess(self, image: NDArray[np.uint8]) -> Face | None:
            return central if image.mean() < 50 else None

    dark = write_photo(tmp_path / "dark.png", np.full((130, 130, 3), 20, dtype=np.uint8))
    bright = write_photo(tmp_path / "bright.png", draw_face(0, 130))
    guessed, found = benchmark_faces([dark, bright], Bystander(), cache)
    assert guessed is not None
    assert found is not None
    assert (guessed.score, found.score) == (central.score, beside.score)


def test_crops_are_aligned_faces_or_the_centre(photos: list[Path], cache: CropCache) -> None:
    detector = BrightDetector()
    made = crop_benchmark(photos, detector, "arcface", 64, 48, cache)
    assert made.found.tolist() == [True, False, True]
    assert made.n_not_found == 1
    for index in (0, 2):
        image = read_image(photos[index])
        np.testing.assert_array_equal(made.crops[index], align(image, detector.detect(image)[0], "arcface", 64, 48))
    np.testing.assert_array_equal(made.crops[1], center_crop(read_image(photos[1]), 64, 48))


def test_the_second_run_asks_no_detector(photos: list[Path], cache: CropCache) -> None:
    detector = BrightDetector()
    seen: list[tuple[int, int]] = []
    first = crop_benchmark(photos, detector, "arcface", 64, 64, cache, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert detector.calls == 3
    second = crop_benchmark(photos, detector, "arcface", 64, 64, cache, lambda *_: seen.append((0, 0)))
    assert detector.calls == 3
    assert len(seen) == 3
    np.testing.assert_array_equal(first.crops, second.crops)
    np.testing.assert_array_equal(first.found, second.found)
    assert first.sha256 == second.sha256


def test_keys_are_content_detector_template_and_size(photos: list[Path], cache: CropCache) -> None:
    detector = BrightDetector()
    first = crop_benchmark(photos, detector, "arcface", 64, 64, cache)
    assert crop_benchmark(photos, detector, "arcface", 32, 32, cache).crops.shape == (3, 32, 32, 3)
    narrow = crop_benchmark(photos, detector, "arcface_narrow", 64, 64, cache)
    assert not np.array_equal(narrow.crops, first.crops)
    assert detector.calls == 3  # what was found does not depend on template or size
    other = BrightDetector("2", scale=0.8)
    assert not np.array_equal(crop_benchmark(photos, other, "arcface", 64, 64, cache).crops, first.crops)
    assert other.calls == 3
    moved = photos[0].rename(photos[0].with_name("renamed.png"))
    again = crop_benchmark([moved, *photos[1:]], detector, "arcface", 64, 64, cache)
    assert again.sha256 == first.sha256
    write_photo(moved, draw_face(5, 130))
    changed = crop_benchmark([moved, *photos[1:]], detector, "arcface", 64, 64, cache)
    assert changed.sha256 != first.sha256
    assert detector.calls == 4
    assert not np.array_equal(changed.crops[0], first.crops[0])


def test_paths_and_contents_are_one(photos: list[Path], cache: CropCache) -> None:
    by_path = crop_benchmark(photos, BrightDetector(), "arcface", 64, 64, cache)
    by_content = crop_benchmark([p.read_bytes() for p in photos], BrightDetector(), "arcface", 64, 64, cache)
    assert by_path.sha256 == by_content.sha256


@pytest.mark.parametrize("damage", ["cut", "garbage", "gone"])
def test_a_damaged_cache_is_made_again(photos: list[Path], cache: CropCache, damage: str) -> None:
    first = np.array(crop_benchmark(photos, BrightDetector(), "arcface", 64, 64, cache).crops)
    for path in cache.root.glob("*.npy"):
        content = path.read_bytes()
        path.unlink()
        if damage == "cut":
            path.write_bytes(content[:-1])
        elif damage == "garbage":
            path.write_bytes(b"garbage")
    again = crop_benchmark(photos, BrightDetector(), "arcface", 64, 64, cache)
    np.testing.assert_array_equal(again.crops, first)


def test_an_interrupted_run_keeps_what_it_found(photos: list[Path], cache: CropCache) -> None:
    detector = BrightDetector()
    bad = photos[2].with_name("bad.png")
    bad.write_bytes(b"not a photo")
    with pytest.raises(ImageError, match=r"bad\.png"):
        crop_benchmark([*photos[:2], bad], detector, "arcface", 64, 64, cache)
    assert not list(cache.root.glob("*.npy"))
    crop_benchmark(photos, detector, "arcface", 64, 64, cache)
    assert detector.calls == 3


def test_a_cache_that_cannot_be_used_is_refused(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="FACELET_CACHE"):
        crop_benchmark(photos, BrightDetector(), "arcface", 64, 64, CropCache(tmp_path / "file"))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "faces.sqlite").write_bytes(b"not a table " * 100)
    with pytest.raises(InputError, match=r"faces\.sqlite"):
        crop_benchmark(photos, BrightDetector(), "arcface", 64, 64, CropCache(tmp_path / "odd"))


def test_a_table_that_fails_within_a_run_is_refused_in_one_line(photos: list[Path], cache: CropCache) -> None:
    crop_benchmark(photos, BrightDetector(), "arcface", 64, 64, cache)
    table = cache.root / "faces.sqlite"
    for log in cache.root.glob("faces.sqlite-*"):
        log.unlink()
    content = bytearray(table.read_bytes())
    content[4096:8192] = bytes([255]) * 4096  # the header stays sound, so that it opens
    table.write_bytes(content)
    with pytest.raises(InputError, match=r"faces\.sqlite: .*malformed.*delete it, or set FACELET_CACHE"):
        crop_benchmark(photos, BrightDetector(), "arcface", 32, 32, cache)
    with pytest.raises(InputError, match=r"faces\.sqlite: .*malformed"):
        benchmark_faces(photos, BrightDetector(), cache)
    table.unlink()
    for what in ("database is locked", "database or disk is full"):
        with pytest.raises(InputError, match=f"{what}.*FACELET_CACHE"), cache.faces():
            raise sqlite3.OperationalError(what)


def test_what_is_not_there_is_refused(photos: list[Path], cache: CropCache) -> None:
    with pytest.raises(MissingFileError, match="absent"):
        crop_benchmark([*photos, Path("absent.jpg")], BrightDetector(), "arcface", 64, 64, cache)
    with pytest.raises(UnknownNameError, match="did you mean 'arcface'"):
        crop_benchmark(photos, BrightDetector(), "arcfacee", 64, 64, cache)


def test_packed_crops_keep_their_pixels() -> None:
    import cv2

    canvas = draw_face(3, 112)
    _, content = cv2.imencode(".png", canvas[..., ::-1])
    crops = crop_packed([content.tobytes()], "arcface", 112, 112)
    np.testing.assert_array_equal(crops.crops[0], canvas)
    assert crops.n_not_found == 0
    narrow = crop_packed([content.tobytes()], "arcface_narrow", 112, 96)
    np.testing.assert_array_equal(narrow.crops[0], canvas[:, 8:104])


def test_many_runs_may_make_the_table_of_detections_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from facelet.faces.crops import CropCache\n"
        "for n in range(20):\n"
        "    table = CropCache(Path(sys.argv[1]) / str(n)).open_faces()\n"
        "    table.execute('INSERT INTO faces VALUES (?, ?)', (sys.argv[2], ''))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(n)]) for n in range(3)]
    assert [run.wait() for run in runs] == [0] * 3
    assert len(CropCache(tmp_path / "7").open_faces().execute("SELECT key FROM faces").fetchall()) == 3
