"""Bad surroundings: a full disk, and a home that cannot be written, end in one line and leave nothing behind.

The disk is a limit on the size of files that a process may write, which no file system is needed for; where this
process may mount one, also a small file system.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from command_families import lay_out
from conftest import Ended
from facelet.atomic import write_bytes_atomic, write_files_atomic
from facelet.data.embedding_cache import fill_cache
from facelet.data.row_file import RowFile
from facelet.data.views import RECIPES
from facelet.errors import DiskFullError, InputError
from facelet.faces.crops import CropCache
from tiny_lfw import write_lfw
from tiny_training import TinyTeacher, tiny_set


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Lets this process write no file beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def left_in(folder: Path) -> list[str]:
    """Files that are not empty, by their paths below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: write_bytes_atomic(folder / "new" / "file", bytes(9000)),
    "several files": lambda folder: write_files_atomic({folder / "small": b"1", folder / "large": bytes(9000)}),
    "an array by rows": lambda folder: RowFile(folder / "rows.npy", (100, 90), np.uint8),
    "a teacher's answers": lambda folder: fill_cache(TinyTeacher(), tiny_set(), RECIPES["light"], 0, 1, folder),
    "crops of a benchmark": lambda folder: CropCache(folder).save(
        "key", np.zeros((10, 30, 30, 3), np.uint8), np.zeros(10, np.bool_)
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_names_a_full_disk_and_takes_back_what_it_wrote(tmp_path: Path, name: str) -> None:
    with files_of_at_most(4096), pytest.raises(DiskFullError, match=r"the disk is full.*free some space"):
        WRITERS[name](tmp_path)
    kept = [path for path in left_in(tmp_path) if not path.endswith(("found.npy", "scale.npy"))]
    assert kept == []


COMMANDS: dict[str, str] = {
    "packing crops": "distill facelet_xs --teacher tiny.onnx --data crops --aligned --out out/distill",
    "a model": "prune nn4_small2 --out out/pruned.onnx",
    "a new folder": "synthetic sample --identities 3 --photos 2 --out out/people",
    "a folder of sorted photos": "cluster photos --out out/sorted",
    "an export": "fpga export int8.onnx --flavour c --out out/c",
    "a picture": "inspect tiny.onnx --png out/graph.png",
    "vectors": "embed a.png b.png --model tiny.onnx --all --out out/vectors.json",
    "crops": "align a.png --size 300 --out out/crops",
    "an archive": "evaluate tiny.onnx --data packed --view 1 --out out/evaluate",
}


SLOW_COMMANDS = ("a folder of sorted photos", "a picture")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_COMMANDS else []) for name in COMMANDS]
)
def test_a_command_on_a_full_disk_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Ended]
) -> None:
    work = lay_out(tmp_path / "work")
    if name == "an archive":
        write_lfw(tmp_path / "whole")
        (work / "packed").mkdir()
        for path in (tmp_path / "whole").glob("*.txt"):
            path.rename(work / "packed" / path.name)
        subprocess.run(["tar", "czf", work / "packed" / "lfw.tar.gz", "-C", tmp_path / "whole", "lfw"], check=True)
    cache = tmp_path / "cache"
    monkeypatch.setenv("FACELET_CACHE", str(cache))
    monkeypatch.chdir(work)
    with files_of_at_most(2000):
        ended = cli(*COMMANDS[name].split(), "--quiet")
    assert (ended.code, ended.err.count("\n")) == (1, 1), ended.err
    assert "the disk is full" in ended.err
    assert left_in(work / "out") == []
    assert left_in(cache) == []


def test_a_mapped_file_no_longer_ends_the_process(tmp_path: Path) -> None:
    """On a real file system that is full: a write to a mapped file would be SIGBUS, exit code -7."""
    script = (
        "mount -t tmpfs -o size=100k none full || exit 77\n"
        f"exec {sys.executable} -c 'from facelet.data.row_file import RowFile\n"
        "import pathlib, sys\n"
        "from facelet.errors import DiskFullError\n"
        'try: RowFile(pathlib.Path("full/rows.npy"), (1000, 1000), "u1")\n'
        'except DiskFullError as error: print(error, list(pathlib.Path("full").iterdir()))\''
    )
    (tmp_path / "full").mkdir()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a file system cannot be mounted here")
    assert done.returncode == 0, done.stderr
    assert "the disk is full (No space left on device)" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_rows_are_those_of_an_ordinary_array(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float16).reshape(5, 3, 4)
    rows = RowFile(tmp_path / "rows.npy", (9, 3, 4), np.float16)
    rows.write(3, values[3:])
    RowFile(tmp_path / "rows.npy", (9, 3, 4), np.float16).write(0, values[:3].astype(np.float64))
    rows.cut(5)
    assert np.array_equal(np.load(tmp_path / "rows.npy", mmap_mode="r"), values)
    assert (tmp_path / "rows.npy").stat().st_size == len(values.tobytes()) + 128
    with pytest.raises(ValueError, match="expected uint8"):
        RowFile(tmp_path / "rows.npy", (5, 3, 4), np.uint8)


def test_space_that_no_file_system_promises_is_taken_by_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    rows = RowFile(tmp_path / "rows.npy", (4, 2000), np.uint8)
    with files_of_at_most(4096), pytest.raises(DiskFullError, match=r"rows\.npy: the disk is full"):
        rows.write(3, np.ones((1, 2000), np.uint8))


def test_files_that_belong_together_are_written_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with files_of_at_most(4096), pytest.raises(DiskFullError):
        write_files_atomic({tmp_path / "a": b"new", tmp_path / "b" / "c": bytes(9000)})
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]
    write_files_atomic({tmp_path / "a": b"new", tmp_path / "b" / "c": b"more"})
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b" / "c").read_bytes() == b"newmore"


HOMELESS = (
    "verify a.png b.png --model tiny.onnx --backend opencl",
    "devices",
    "evaluate tiny.onnx --data lfw --view 1 --out out/evaluate",
    "distill facelet_xs --teacher tiny.onnx --data crops --aligned --out out/distill",
    "fpga emulate int8.onnx crop.png --device pocl",
    "verify a.png b.png --detector yunet",
)


@pytest.mark.parametrize("home", ["/proc", "/dev/null"])
@pytest.mark.parametrize("command", HOMELESS)
def test_a_home_that_cannot_be_written_is_told_with_the_mend(
    home: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Ended]
) -> None:
    monkeypatch.chdir(lay_out(tmp_path / "work"))
    for name in ("FACELET_CACHE", "XDG_CACHE_HOME", "POCL_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that what the command sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setattr("facelet.opencl.runtime._opened", [])
    monkeypatch.setenv("HOME", home)
    ended = cli(*command.split(), "--quiet")
    assert ended.code in (1, 2)
    assert ended.err.count("\n") == 1
    assert "set FACELET_CACHE to a folder that can be written [FL-" in ended.err


def test_what_is_not_the_cache_gets_no_hint_about_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="give another place"):
        write_bytes_atomic(Path("/proc/file"), b"")
