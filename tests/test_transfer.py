"""Transfer sets from shards and folders: content in, the same crops and labels out, bad sources refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from facelet.data.transfer import TransferSet, open_transfer_set
from facelet.errors import MissingFileError, TransferSetError
from tiny_training import tiny_set

CROP = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()


def write_shard(path: Path, samples: list[tuple[str, dict[str, bytes]]]) -> None:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for key, parts in samples:
            for suffix, content in parts.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def label(identity: str | None, source: str = "a") -> bytes:
    return json.dumps({"identity": identity, "source": source}).encode()


def test_shards_give_crops_and_labels_in_order(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    other = 255 - CROP
    write_shard(shards / "t-0.tar", [("1", {"png": png(CROP), "json": label("ann")}), ("2", {"png": png(other)})])
    write_shard(
        shards / "t-1.tar.gz",
        [("3", {"png": png(CROP), "json": label("ann")}), ("4", {"png": png(CROP), "json": label("ann", "b")})],
    )
    opened = open_transfer_set(shards, tmp_path / "cache")
    np.testing.assert_array_equal(opened.crops, [CROP, other, CROP, CROP])
    # one name in two sources is two people
    assert opened.identity.tolist() == [0, -1, 0, 1]
    assert opened.labelled(2).tolist() == [0, 2]
    assert opened.sources == ("a", "t-0.tar", "b")


def test_crops_that_come_aligned_may_be_laid_anew(tmp_path: Path) -> None:
    shard = tmp_path / "t.tar"
    write_shard(shard, [("1", {"png": png(CROP)})])
    plain = open_transfer_set(shard, tmp_path / "cache")
    anew = open_transfer_set(
        shard, tmp_path / "cache", realign=lambda crop: np.ascontiguousarray(crop[::-1]), realigned_by="upside-down"
    )
    np.testing.assert_array_equal(anew.crops, plain.crops[:, ::-1])
    assert anew.key == f"{plain.key}-upside-down"


def test_a_pack_is_made_once_and_follows_the_content(tmp_path: Path) -> None:
    shard = tmp_path / "t.tar"
    write_shard(shard, [("1", {"png": png(CROP)})])
    calls: list[tuple[int, int]] = []
    first = open_transfer_set(shard, tmp_path / "cache", progress=lambda a, b: calls.append((a, b)))
    again = open_transfer_set(shard, tmp_path / "cache", progress=lambda a, b: calls.append((a, b)))
    assert calls == [(1, 1)]
    assert first.key == again.key
    write_shard(shard, [("1", {"png": png(255 - CROP)})])
    assert open_transfer_set(shard, tmp_path / "cache").key != first.key


def test_shards_hold_aligned_crops_whether_that_is_said_or_not(tmp_path: Path) -> None:
    shard = tmp_path / "t.tar"
    write_shard(shard, [("1", {"png": png(CROP)})])

    def align(_path: Path) -> np.ndarray:
        raise AssertionError

    opened = [open_transfer_set(shard, tmp_path / cache, align=way) for way in (None, align) for cache in ("a", "b")]
    assert len({each.key for each in opened}) == 1
    np.testing.assert_array_equal(opened[-1].crops, [CROP])


def test_a_folder_of_people_reads_as_vggface2_is_laid_out(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for person, photo in (("n01", "a.jpg"), ("n01", "b.png"), ("n02", "c.png")):
        (folder / person).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / person / photo), cv2.resize(CROP, (200, 200)))
    opened = open_transfer_set(folder, tmp_path / "cache")
    assert opened.crops.shape == (3, 128, 128, 3)
    assert opened.identity.tolist() == [0, 0, 1]
    aligned = open_transfer_set(folder, tmp_path / "cache", align=lambda path: CROP)
    np.testing.assert_array_equal(aligned.crops[2], CROP)
    assert aligned.key != opened.key


def test_a_flat_folder_is_unlabelled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    cv2.imwrite(str(tmp_path / "set" / "a.png"), CROP)
    assert open_transfer_set(tmp_path / "set", tmp_path / "cache").identity.tolist() == [-1]


def test_a_subset_holds_its_rows_under_a_key_of_their_own() -> None:
    whole = tiny_set()
    rows = np.array([0, 3, 17])
    part = whole.subset(rows)
    np.testing.assert_array_equal(part.crops, whole.crops[rows])
    np.testing.assert_array_equal(part.identity, whole.identity[rows])
    assert part.key == whole.subset(rows).key
    assert len({whole.key, part.key, whole.subset(rows + 1).key, whole.subset(rows[:2]).key}) == 4


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such transfer set"):
        open_transfer_set(tmp_path / "none", tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TransferSetError, match="neither shards"):
        open_transfer_set(tmp_path / "empty", tmp_path / "cache")
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(TransferSetError, match="not a readable tar"):
        open_transfer_set(tmp_path / "text.tar", tmp_path / "cache")
    write_shard(tmp_path / "image.tar", [("1", {"png": b"no png"})])
    with pytest.raises(TransferSetError, match=r"image\.tar:1: not a readable image"):
        open_transfer_set(tmp_path / "image.tar", tmp_path / "cache")
    write_shard(tmp_path / "json.tar", [("1", {"png": png(CROP), "json": b"{"})])
    with pytest.raises(TransferSetError, match=r"json\.tar:1: its \.json is not JSON"):
        open_transfer_set(tmp_path / "json.tar", tmp_path / "cache")
    write_shard(tmp_path / "cut.tar", [("1", {"png": png(CROP)})])
    whole = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:20000])
    with pytest.raises(TransferSetError):
        open_transfer_set(tmp_path / "cut.tar", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "transfer").glob("packing-*")), "a failed pack leaves nothing behind"


def test_photos_without_a_face_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    opened = open_transfer_set(folder, tmp_path / "cache", align=lambda path: None if path.stem == "2" else CROP)
    assert opened.n_images == 2
    assert opened.identity.tolist() == [0, 1]
    assert opened.n_skipped == 1
    with pytest.raises(TransferSetError, match="none of its 3 photos"):
        open_transfer_set(folder, tmp_path / "other", align=lambda path: None)


def test_photos_that_another_detector_aligned_are_another_set(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(png(CROP))

    def opened_by(detector: str, crop: np.ndarray) -> TransferSet:
        return open_transfer_set(photos, tmp_path / "cache", align=lambda _path: crop, aligned_by=detector)

    opened = [opened_by("dlib", CROP), opened_by("yunet", CROP // 2), opened_by("dlib", CROP // 3)]
    assert len({transfer.key for transfer in opened}) == 2
    np.testing.assert_array_equal(opened[1].crops[0], CROP // 2)
    np.testing.assert_array_equal(opened[2].crops[0], CROP)  # packed before


@pytest.mark.parametrize("name", ["meta.json", "labels.npz", "crops.npy"])
def test_a_damaged_pack_is_named(tmp_path: Path, name: str) -> None:
    shard = tmp_path / "t.tar"
    write_shard(shard, [("1", {"png": png(CROP)})])
    open_transfer_set(shard, tmp_path / "cache")
    (path,) = tmp_path.rglob(name)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(TransferSetError, match="this part of the cache is damaged"):
        open_transfer_set(shard, tmp_path / "cache")


def test_the_same_photos_in_another_folder_are_of_that_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("celeba", "casia"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png(CROP))
        assert open_transfer_set(tmp_path / name, tmp_path / "cache").sources == (name,)
    monkeypatch.chdir(tmp_path / "celeba")
    assert open_transfer_set(Path(), tmp_path / "cache").sources == ("celeba",)


def test_nobody_is_held_out_where_nobody_has_a_name(tmp_path: Path) -> None:
    write_shard(tmp_path / "t.tar", [("1", {"png": png(CROP)})])
    with pytest.raises(TransferSetError, match="no crop has a label"):
        open_transfer_set(tmp_path / "t.tar", tmp_path / "cache", exclude_heldout=True)


def test_a_shard_whose_compression_is_damaged_is_one_line(tmp_path: Path) -> None:
    shard = tmp_path / "t.tar.gz"
    noise = np.random.default_rng(0).integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
    write_shard(shard, [(str(i), {"png": png(pixels)}) for i, pixels in enumerate(noise)])
    whole = shard.read_bytes()
    for place in range(100, len(whole) - 100, len(whole) // 12):
        shard.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
        with pytest.raises(TransferSetError):
            open_transfer_set(shard, tmp_path / "cache")


def test_a_link_that_leads_nowhere_is_named_and_a_folder_is_no_photo(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "holiday.jpg").mkdir(parents=True)
    (photos / "holiday.jpg" / "1.png").write_bytes(png(CROP))
    assert open_transfer_set(photos, tmp_path / "cache").n_images == 1
    (photos / "gone.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(TransferSetError, match=r"gone\.png: cannot be read"):
        open_transfer_set(photos, tmp_path / "cache")
