"""Hand-computed: packed pairs written here are read back; a pickle that wants anything else is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drawn_faces import draw_face
from facelet.data.packed import load_packed
from facelet.errors import FaceletError, MissingFileError, ProtocolError


def encoded(seed: int) -> bytes:
    import cv2

    _, content = cv2.imencode(".jpg", draw_face(seed, 112))
    return content.tobytes()


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


# Pairs (0, 1), (0, 2), (3, 1): image 0 and image 1 occur twice.
IMAGES = [encoded(seed) for seed in (0, 1, 0, 2, 3, 1)]
SAME = [True, False, False]


@pytest.mark.parametrize("protocol", range(6))
def test_bytes_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    pairs, images = load_packed(write(tmp_path / "lfw.bin", (IMAGES, SAME), protocol))
    assert images == tuple(encoded(seed) for seed in (0, 1, 2, 3))
    assert pairs.left.tolist() == [0, 0, 3]
    assert pairs.right.tolist() == [1, 2, 1]
    assert pairs.same.tolist() == SAME
    assert len(pairs.images) == 4


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_and_array_booleans(tmp_path: Path, protocol: int) -> None:
    """Files of the field hold arrays of bytes and NumPy's booleans as well."""
    arrays = [np.frombuffer(image, dtype=np.uint8) for image in IMAGES]
    for same in (np.array(SAME), [np.bool_(value) for value in SAME], [1, 0, 0]):
        pairs, images = load_packed(write(tmp_path / "a.bin", (arrays, same), protocol))
        assert images[0] == IMAGES[0]
        assert pairs.same.tolist() == SAME


def test_a_file_of_python_2(tmp_path: Path) -> None:
    """Protocol 2 as Python 2 wrote it: byte strings by the operation code SHORT_BINSTRING."""

    def text(content: bytes) -> bytes:
        return b"U" + bytes([len(content)]) + content

    pickled = b"\x80\x02" + b"]" + b"(" + text(b"left") + text(b"right") + b"e" + b"]" + b"\x88a" + b"\x86."
    (tmp_path / "old.bin").write_bytes(pickled)
    pairs, images = load_packed(tmp_path / "old.bin")
    assert images == (b"left", b"right")
    assert pairs.same.tolist() == [True]


def test_ten_consecutive_folds(tmp_path: Path) -> None:
    images = [bytes([n // 256, n % 256]) for n in range(46)]
    pairs, _ = load_packed(write(tmp_path / "f.bin", (images, [True] * 23)))
    # 23 pairs: three folds of 3, then seven of 2
    assert np.bincount(pairs.fold).tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    assert (np.diff(pairs.fold) >= 0).all()


class Touch:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for protocol in (0, 2, 4):
        path = write(tmp_path / "evil.bin", ([Touch(trap)], [True]), protocol)
        with pytest.raises(ProtocolError, match="refused"):
            load_packed(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "line",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"c_codecs\ndecode\n.",
        b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
        b"cnumpy\nndarray.tofile\n.",
        b"Pname\n.",
        b"(I1\nI2\n",
        b"",
        b"hello",
        b"\x80\xff.",
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "x.bin").write_bytes(line)
    with pytest.raises(ProtocolError, match=r"x\.bin: "):
        load_packed(tmp_path / "x.bin")


@pytest.mark.parametrize(
    "content",
    [
        42,
        (IMAGES,),
        (IMAGES, SAME, SAME),
        (IMAGES[:5], SAME),
        ([], []),
        ("images", SAME),
        (["text"] * 6, SAME),
        ([b""] * 6, SAME),
        (IMAGES, ["yes", "no", "no"]),
        (IMAGES, [2, 0, 0]),
        ([np.zeros(3, dtype=np.float32)] * 6, SAME),
        ([np.array([None])] * 6, SAME),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ProtocolError):
        load_packed(write(tmp_path / "c.bin", content))


def test_a_cut_file_and_no_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.bin", (IMAGES, SAME))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ProtocolError, match="not a pickle of packed pairs"):
        load_packed(path)
    with pytest.raises(MissingFileError):
        load_packed(tmp_path / "absent.bin")
    with pytest.raises(FaceletError):
        load_packed(tmp_path)
