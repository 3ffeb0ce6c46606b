"""Hand-computed and golden: LFW's lists as published, from a folder or an archive; damaged lists refused."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from facelet.data.lfw import load_lfw, read_pairs
from facelet.errors import InputError, MissingFileError, ProtocolError
from tiny_lfw import DEV_TRAIN, PAIRS, write_images, write_lfw, write_lists


def test_view_2_by_hand(tmp_path: Path) -> None:
    pairs, root = load_lfw(write_lfw(tmp_path), view=2)
    assert root == tmp_path / "lfw"
    assert pairs.n_pairs == 8
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.fold.tolist() == [0] * 4 + [1] * 4
    named = [(pairs.images[a], pairs.images[b]) for a, b in zip(pairs.left, pairs.right, strict=True)]
    assert named[0] == ("Ada_Lovelace/Ada_Lovelace_0001.jpg", "Ada_Lovelace/Ada_Lovelace_0002.jpg")
    assert named[7] == ("Emmy_Noether/Emmy_Noether_0002.jpg", "Grace_Hopper/Grace_Hopper_0002.jpg")
    assert len(pairs.images) == len(set(pairs.images)) == 8


def test_view_1_has_train_and_test(tmp_path: Path) -> None:
    write_lfw(tmp_path)
    both, _ = load_lfw(tmp_path, view=1)
    assert both.fold.tolist() == [0, 0, 1, 1, 1, 1]
    train, _ = load_lfw(tmp_path, view=1, split="train")
    test, _ = load_lfw(tmp_path, view=1, split="test")
    assert (train.n_pairs, test.n_pairs) == (2, 4)
    assert both.images[: len(train.images)] == train.images
    joined = [both.images[i] for i in both.right[2:]]
    assert joined == [test.images[i] for i in test.right]


@pytest.mark.parametrize("layout", ["flat", "nested", "twice"])
def test_folders_as_people_keep_them(tmp_path: Path, layout: str) -> None:
    if layout == "flat":
        write_images(write_lists(tmp_path))
    elif layout == "nested":
        write_images(write_lists(tmp_path / "lfw"))
    else:
        write_images(write_lists(tmp_path / "lfw") / "lfw")
    pairs, root = load_lfw(tmp_path)
    assert (root / pairs.images[0]).is_file()


def pack(archive: Path, folder: Path, prefix: str = "lfw") -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=prefix)
    return archive


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    data = write_lists(tmp_path / "data" / "lfw")
    pack(data / "lfw.tar.gz", write_images(tmp_path / "images"))
    cache = tmp_path / "cache"
    pairs, root = load_lfw(tmp_path / "data", cache_dir=cache)
    assert root.is_relative_to(cache)
    marked = root / pairs.images[0]
    marked.write_bytes(b"kept")
    again, same_root = load_lfw(data, cache_dir=cache)
    assert same_root == root
    assert marked.read_bytes() == b"kept"
    assert again.images == pairs.images
    assert [path.name for path in (cache / "unpacked").iterdir()] == [root.relative_to(cache / "unpacked").parts[0]]


def test_an_archive_cut_short_leaves_nothing_behind(tmp_path: Path) -> None:
    data = write_lists(tmp_path / "data")
    archive = pack(data / "lfw.tar.gz", write_images(tmp_path / "images"))
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(ProtocolError, match=r"lfw\.tar\.gz: cannot be unpacked"):
        load_lfw(data, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache" / "unpacked").iterdir()) == []


def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    data = write_lists(tmp_path / "data")
    with tarfile.open(data / "lfw.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("../../outside.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(ProtocolError, match="cannot be unpacked"):
        load_lfw(data, cache_dir=tmp_path / "cache")
    assert not list(tmp_path.rglob("outside.txt"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "line 1"),
        ("ten folds\n", "line 1"),
        ("0\n", "line 1"),
        ("2\t2\t2\n", "line 1"),
        (PAIRS.replace("2\t2\n", "3\t2\n", 1), "8 pairs; line 1 announces 12"),
        (PAIRS.replace("Alan_Turing\t1\t2", "Alan_Turing\t1"), "line 3"),
        (PAIRS.replace("Alan_Turing\t1\t2", "Alan_Turing\t1\tx"), "line 3"),
        (PAIRS.replace("Ada_Lovelace\t1\tAlan_Turing\t1", "Ada_Lovelace\t1\t2"), "line 4"),
        (PAIRS.replace("Ada_Lovelace\t1\t2", "../../etc/passwd\t1\t2"), "line 2"),
        (DEV_TRAIN + "Ada_Lovelace\t1\t2\n", "3 pairs; line 1 announces 2"),
    ],
)
def test_a_list_that_is_not_as_published_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(content)
    with pytest.raises(ProtocolError, match=complaint):
        read_pairs(path)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ProtocolError, match="not a text file"):
        read_pairs(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such folder"):
        load_lfw(tmp_path / "absent")
    with pytest.raises(MissingFileError, match=r"pairs\.txt"):
        load_lfw(tmp_path)
    write_lists(tmp_path)
    with pytest.raises(MissingFileError, match="no images of LFW"):
        load_lfw(tmp_path)
    write_images(tmp_path)
    (tmp_path / "Alan_Turing" / "Alan_Turing_0002.jpg").unlink()
    with pytest.raises(MissingFileError, match=r"lacks 1 of the 8 images.*Alan_Turing_0002"):
        load_lfw(tmp_path)
    with pytest.raises(InputError, match="view 3"):
        load_lfw(tmp_path, view=3)
    with pytest.raises(InputError, match="split 'dev'"):
        load_lfw(tmp_path, view=1, split="dev")


@pytest.mark.data
def test_the_published_lists(data_dir: Path) -> None:
    """Golden: 10 folds of 300 and 300; 1,100 and 500 of each kind. The sum is the one that scikit-learn pins."""
    path = data_dir / "lfw" / "pairs.txt"
    expected = "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected
    pairs = read_pairs(path)
    assert pairs.n_pairs == 6000
    assert np.bincount(pairs.fold).tolist() == [600] * 10
    assert [int(pairs.same[pairs.fold == fold].sum()) for fold in range(10)] == [300] * 10
    assert len(pairs.images) == 7701
    train = read_pairs(data_dir / "lfw" / "pairsDevTrain.txt")
    test = read_pairs(data_dir / "lfw" / "pairsDevTest.txt")
    assert (train.n_pairs, int(train.same.sum())) == (2200, 1100)
    assert (test.n_pairs, int(test.same.sum())) == (1000, 500)


def test_a_system_file_beside_the_archive_is_not_taken_for_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_lfw(data)
    with tarfile.open(data / "lfw.tar.gz", "w:gz") as tar:
        tar.add(data / "lfw", arcname="lfw")
    shutil.rmtree(data / "lfw")
    (data / "._lfw.tar.gz").write_bytes(b"\0\5\x16\7Mac OS X")
    assert load_lfw(data, cache_dir=tmp_path / "cache")[1].is_relative_to(tmp_path / "cache")
