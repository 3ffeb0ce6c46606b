"""Shards as people make them: each label is with its picture, or the shard is refused. Invariants and small cases."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facelet.cli import run
from facelet.data.shards import count_images, shard_items
from facelet.data.transfer import open_transfer_set
from facelet.errors import TransferSetError, shown

PICTURE = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()

Members = list[tuple[str, bytes]]


def shard(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def label(identity: object, **fields: object) -> bytes:
    return json.dumps({"identity": identity, **fields}).encode()


def read(path: Path) -> list[tuple[str, str | None]]:
    """Where each picture of a shard lies, and its identity without the source."""
    found = list(shard_items(path))
    assert count_images(path) == len(found)
    return [(i.where.partition(":")[2], None if i.identity is None else i.identity.partition("/")[2]) for i in found]


def refusal(path: Path) -> str:
    """The line of a shard that is refused."""
    with pytest.raises(TransferSetError) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith((f"{path.name}:", f"{shown(path)}:"))
    return str(error.value)


SAMPLES = {key: {f"{key}.jpg": PICTURE, f"{key}.json": label(f"of {key}")} for key in ("a", "b", "c")}
PAIRS = [list(sample.items()) for sample in SAMPLES.values()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([member for pair in PAIRS for member in pair]))
def test_in_any_order_a_label_is_with_its_picture_or_the_shard_is_refused(tmp_path: Path, order: Members) -> None:
    keys = [key for key, _ in itertools.groupby(name.partition(".")[0] for name, _ in order)]
    path = shard(tmp_path / "t.tar", order)
    if len(keys) == 3:
        assert read(path) == [(key, f"of {key}") for key in keys]
    else:
        assert "must follow each other: pack with tar --sort=name" in refusal(path)


@pytest.mark.parametrize("name", ["t.tar", "t.tar.gz", "t.tgz"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_label_may_come_before_or_behind_its_picture(tmp_path: Path, name: str, order: int) -> None:
    members = [member for pair in PAIRS for member in pair[::order]]
    assert read(shard(tmp_path / name, members)) == [(key, f"of {key}") for key in "abc"]


def members(text: str) -> Members:
    """Members of a text such as `1.jpg | 1.cls=ann`, in Latin-1: pictures hold one, `1.json:x` is short for a label."""
    found: Members = []
    for part in text.split(" | "):
        name, _, content = part.partition("=")
        name, _, identity = name.partition(":")
        if not content:
            content = f'{{"identity": "{identity}"}}' if identity else ""
        found.append((name, content.encode("latin-1") or PICTURE))
    return found


READ: dict[str, tuple[str, list[tuple[str, str | None]]]] = {
    "class labels": ("1.jpg | 1.cls=7\n | 2.cls=ann | 2.png", [("1", "7"), ("2", "ann")]),
    "json before class": ("1.jpg | 1.cls=7 | 1.json:ann", [("1", "ann")]),
    "class where json has none": ('1.jpg | 1.cls=7 | 1.json={"age": 3}', [("1", "7")]),
    "dotted picture": ("1.face.jpg | 1.json:ann", [("1.face", "ann")]),
    "dotted label": ("1.meta.json:ann | 1.jpg", [("1", "ann")]),
    "dotted names": ("j.s.jpg | j.s.json:x | j.a.jpg | j.a.json:y", [("j.s", "x"), ("j.a", "y")]),
    "dotted names, no labels": ("j.s.jpg | j.a.jpg", [("j.s", None), ("j.a", None)]),
    "own label first": ("1.jpg | 1.json:ann | 1.crop.json={}", [("1", "ann")]),
    "folders": ("p/0.jpg | p/0.json:x | q/0.jpg | q/0.json:y", [("p/0", "x"), ("q/0", "y")]),
    "upper case": ("A.JSON:x | A.JPG", [("A", "x")]),
    "other parts": ('1.jpg | 1.txt=a man | 1.json={"identity": null, "age": 3}', [("1", None)]),
    "documents": ("README.md=faces | LICENSE=free | 1.jpg", [("1", None)]),
    "landmarks alone": ('1.jpg | 1.json={"source": "a", "landmarks": []}', [("1", None)]),
    "system files": (
        "./._1.jpg=\0\5\x16\7 | ./1.jpg | .DS_Store=x | ./._1.json=\0\5 | 1.json:x | __MACOSX/1.jpg=x | Thumbs.db=x",
        [("1", "x")],
    ),
    "twice, both labelled": ("a.jpg | a.json:x | b.jpg | a.jpg | a.json:x", [("a", "x"), ("b", None), ("a", "x")]),
    "nobody": ('1.jpg | 1.json={"identity": -1} | 2.jpg | 2.json={"identity": ""}', [("1", None), ("2", None)]),
    "nobody's names": ("1.jpg | 1.json:None | 2.jpg | 2.json:-1 | 3.jpg | 3.cls=\n", [(n, None) for n in "123"]),
    "numbers": ('1.jpg | 1.json={"identity": 0} | 2.jpg | 2.json: 12 ', [("1", "0"), ("2", "12")]),
    "byte order mark": ('1.jpg | 1.json=\xef\xbb\xbf{"identity": "x"}', [("1", "x")]),
}


@pytest.mark.parametrize(("text", "wanted"), READ.values(), ids=READ)
def test_forms_that_are_read(tmp_path: Path, text: str, wanted: list[tuple[str, str | None]]) -> None:
    assert read(shard(tmp_path / "t.tar", members(text))) == wanted


REFUSED: dict[str, tuple[str, str]] = {
    "pictures first": ("a.jpg | b.jpg | a.json:x | b.json:y", "a.json: a label without its picture beside it"),
    "labels first": ("a.json:x | b.json:y | a.jpg | b.jpg", "a.json: a label without its picture beside it"),
    "class labels behind": ("1.jpg | 2.jpg | 1.cls=7", "1.cls: a label without its picture beside it"),
    "last label behind": ("1.jpg | 1.json:x | 2.jpg | 3.jpg | 2.json:y", "2.json: a label without its picture"),
    "a second picture elsewhere": ("a.jpg | b.jpg | a.jpg | a.json:x", "a.jpg: its key comes twice"),
    "a second picture behind": ("a.jpg | a.json:x | b.jpg | a.jpg", "a.jpg: its key comes twice"),
    "two pictures, one label": ("1.jpg | 1.mask.png | 1.json:x", "1.mask.png: a second picture of the key 1"),
    "one of two names labelled": ("j.s.jpg | j.a.jpg | j.a.json:x", "j.a.jpg: a second picture of the key j"),
    "one name, two suffixes": ("1.jpg | 1.png | 1.json:x", "1.png: a second picture of the key 1"),
    "one name, no label": ("1.jpg | 1.webp", "1.webp: a second picture of the key 1"),
    "two labels": ("1.a.json:x | 1.b.json:y | 1.jpg", "1.b.json: a second .json of 1.jpg"),
    "text for a label": ("1.jpg | 1.txt=ann", "1.txt: neither a picture"),
    "a table of labels": ("1.jpg | labels.csv=1,ann", "labels.csv: neither a picture"),
    "an array of labels": ("ids.npy=x | 1.jpg", "ids.npy: neither a picture"),
    "another picture format": ("1.tiff=x | 2.jpg", "1.tiff: neither a picture"),
    "another field": ('1.jpg | 1.json={"label": "ann"}', '1: its .json has label and no identity; write "identity"'),
    "Latin-1": ("1.jpg | 1.json:Jos\xe9", "1: its .json is not JSON in UTF-8"),
    "Latin-1 class": ("1.jpg | 1.cls=Jos\xe9", "1: its .cls is not UTF-8 text"),
    "half a character": ("1.jpg | 1.json:\\ud83d", "1: its identity '\\ud83d' holds half a character"),
    "deep": (f"1.jpg | 1.json={'[' * 100_000}", "1: its .json is not JSON"),
    "no object": ('1.jpg | 1.json=["x"]', "1: its .json must be an object"),
    "cut": ('1.jpg | 1.json={"identity', "1: its .json is not JSON"),
    "identity a list": ('1.jpg | 1.json={"identity": ["x"]}', '1: its identity is ["x"]; expected a name'),
    "identity a float": ('1.jpg | 1.json={"identity": 3.0}', "1: its identity is 3.0; expected a name"),
    "identity NaN": ('1.jpg | 1.json={"identity": NaN}', "1: its identity is NaN; expected a name"),
    "identity true": ('1.jpg | 1.json={"identity": true}', "1: its identity is true; expected a name"),
    "source a list": ('1.jpg | 1.json={"identity": "x", "source": []}', "1: its source is []; expected a name"),
}


@pytest.mark.parametrize(("text", "line"), REFUSED.values(), ids=REFUSED)
def test_forms_that_are_refused_name_the_member_and_the_remedy(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(shard(tmp_path / "t.tar", members(text))).startswith(f"t.tar:{line}")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_would_lose_their_label_and_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = shard(tmp_path / "t.tar", [*PAIRS[0], ("b.jpg", PICTURE)])
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("b.json")
        info.type, info.linkname = kind, "a.json"
        tar.addfile(info)
    assert refusal(path).startswith("t.tar:b.json: a link or device")


def test_a_shard_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "t.tar", [member for pair in PAIRS for member in pair])
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        borders = [member.offset for member in tar.getmembers()[1:]]
        end = tar.offset
    for length in (
        *borders,
        *range(1, end + 512, 97),
        *range(end - 600, end + 512, 64),
        end - 1,
        end,
        end + 1,
        end + 511,
    ):
        path.write_bytes(whole[:length])
        refusal(path)
    for length in (end + 512, end + 1024):  # one block of zeros is an end, as other programs take it
        path.write_bytes(whole[:length])
        assert len(read(path)) == 3


def test_a_compressed_shard_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "t.tar.gz", [member for pair in PAIRS for member in pair])
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refusal(path)
    # compressed after the cut, so that the compression is whole
    content = gzip.decompress(whole)
    for length in (1024, 2048, 3072):
        path.write_bytes(gzip.compress(content[:length]))
        assert "without an end mark" in refusal(path)


def test_flipped_bits_lose_no_sample_and_no_label(tmp_path: Path) -> None:
    members = [member for pair in PAIRS for member in pair]
    path = shard(tmp_path / "t.tar", members)
    good, whole = read(path), path.read_bytes()
    with tarfile.open(path) as tar:
        labels = [range(m.offset_data, m.offset_data + m.size) for m in tar if m.name.endswith("json")]
        end = tar.offset
    refused = 0
    for place in range(0, end + 512, 13):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read(path)
        except TransferSetError:
            refused += 1
        else:
            assert len(found) == 3
            assert found == good or any(place in content for content in labels)
    assert refused > 100


@pytest.mark.parametrize("between", [0, 512, 10_240])
def test_joined_tars_would_lose_the_second_and_are_refused(tmp_path: Path, between: int) -> None:
    first, second = (shard(tmp_path / f"{n}.tar", PAIRS[n]).read_bytes() for n in (0, 1))
    path = tmp_path / "t.tar"
    path.write_bytes(first + bytes(between) + second)
    assert "goes on after its end mark" in refusal(path)


def test_no_held_out_person_is_trained_on_because_of_the_order(tmp_path: Path) -> None:
    people = [f"person{n}" for n in range(60)]
    members = [((f"{n:02d}.png", PICTURE), (f"{n:02d}.json", label(name))) for n, name in enumerate(people)]
    both = tmp_path / "both"
    both.mkdir()
    shard(both / "a.tar", [member for pair in members for member in pair])
    opened = open_transfer_set(both, tmp_path / "cache", exclude_heldout=True)
    assert 0 < opened.n_images < 60
    assert len(opened.identities) == opened.n_images
    shard(both / "b.tar", [pair[n] for n in (0, 1) for pair in members])
    with pytest.raises(TransferSetError, match=r"b\.tar:00\.json: a label without its picture"):
        open_transfer_set(both, tmp_path / "cache", exclude_heldout=True)


def test_a_folder_takes_no_system_file_for_a_crop_or_a_shard(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    for name in ("ann/1.png", "-1/2.png"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(PICTURE)
    strays = [
        "ann/._1.png",
        ".DS_Store",
        ".hid/3.png",
        "ann/Thumbs.db",
        "__MACOSX/ann/1.png",
        "@eaDir/1.png/X.jpg",
        "._t.tar",
    ]
    for name in strays:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7Mac OS X")
    opened = open_transfer_set(folder, tmp_path / "cache")
    assert opened.n_images == 2
    assert opened.identities == ("ann",)
    assert opened.identity.tolist() == [-1, 0]
    hidden = tmp_path / ".cache" / "crops"
    hidden.parent.mkdir()
    folder.rename(hidden)
    assert open_transfer_set(hidden, tmp_path / "cache").n_images == 2, "the folder itself may be hidden"
    shards = tmp_path / "shards"
    shards.mkdir()
    shard(shards / "t.tar", PAIRS[0])
    (shards / "._t.tar").write_bytes(b"\0\5\x16\7")
    shard(shards / "t.tar", [(name.replace("jpg", "png"), content) for name, content in PAIRS[0]])
    assert open_transfer_set(shards, tmp_path / "cache").n_images == 1


@pytest.mark.parametrize("name", ["1.json", "p/1.json", "p/1.cls"])
def test_an_unpacked_shard_keeps_its_labels(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "crops"
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_bytes(label("ann"))
    path.with_suffix(".png").write_bytes(PICTURE)
    with pytest.raises(TransferSetError, match=r"1\.(json|cls): a label beside an image is read from a shard"):
        open_transfer_set(folder, tmp_path / "cache")


def test_a_shard_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferSetError, match="its shards hold no picture"):
        open_transfer_set(shard(tmp_path / "t.tar", []), tmp_path / "cache")


@pytest.mark.parametrize("name", ["Jos\udce9", "\udcff"])
def test_names_in_another_encoding_are_held_out_like_others(tmp_path: Path, name: str) -> None:
    for n in range(3):
        (tmp_path / "set" / f"{name}{n}").mkdir(parents=True)
        (tmp_path / "set" / f"{name}{n}" / "1.png").write_bytes(PICTURE)
    assert open_transfer_set(tmp_path / "set", tmp_path / "cache", exclude_heldout=True).n_images <= 3


def test_the_command_line_shows_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = shard(tmp_path / "t.tar", [("1.jpg", PICTURE), ("1.json", b'{"identity": "Jos\xe9"}')])
    assert run(["quantize", "facelet_xs", "--calibration", str(path), "--out", str(tmp_path / "q.onnx")]) == 2
    error = capfd.readouterr().err
    assert error.startswith("facelet: t.tar:1: its .json is not JSON")
    assert error.count("\n") == 1
