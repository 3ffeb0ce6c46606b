"""Files and folders that appear whole or not at all: made beside their place, then moved there in one step."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from facelet.cache import MEND, is_cached
from facelet.errors import DiskFullError, FaceletError, InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the system where a disk, a user's share of it, or the size that a process may write is used up."""


def cannot_write(path: Path, error: OSError, mend: str | None = None) -> FaceletError:
    """The error that names a place which cannot be written, why, and what to do.

    Args:
        mend: what to do; None chooses by whether the place is in the cache.
    """
    mend = mend or (MEND if is_cached(path) else "give another place")
    if error.errno in FULL:
        return DiskFullError(f"{path}: the disk is full ({error.strerror}); free some space, or {mend}")
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {mend}")


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Around writes: names the place where the disk is full.

    Raises:
        DiskFullError: it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL and not isinstance(error, FaceletError):
            raise cannot_write(path, error) from error
        raise


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new one.

    Args:
        path: the file, or a link to it; missing parent folders are made. One that is there keeps its permissions.
        content: all of it.

    Raises:
        InputError: the place cannot be written.
        DiskFullError: the disk is full.
    """
    write_files_atomic({path: content})


def write_files_atomic(contents: Mapping[Path, bytes]) -> None:
    """Writes files that belong together: none is put in its place before all are written.

    Args:
        contents: all of each file, by its path as for `write_bytes_atomic`.

    Raises:
        InputError: a place cannot be written; no file is changed, and no folder or part is left behind.
        DiskFullError: the disk is full; the same.
    """
    parts: list[tuple[Path, Path]] = []
    made: list[Path] = []
    for path, content in contents.items():
        try:
            place = Path(os.path.realpath(path))
            made += [folder for folder in place.parents if not folder.exists()]
            place.parent.mkdir(parents=True, exist_ok=True)
            mode = place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask()
            handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=".part")
            parts.append((Path(name), place))
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(mode)
        except BaseException as error:
            _take_back(parts, made)
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise
    try:
        for part, place in parts:
            part.replace(place)
    except OSError as error:
        raise cannot_write(place, error) from error
    finally:
        _take_back(parts, made)


def _take_back(parts: Iterable[tuple[Path, Path]], made: Iterable[Path]) -> None:
    """Removes parts that were not put in their places, and folders that were made for them and are empty."""
    for part, _ in parts:
        part.unlink(missing_ok=True)
    for folder in made:  # the innermost come first
        with suppress(OSError):
            folder.rmdir()


def write_text_atomic(path: Path, content: str) -> None:
    """Writes a UTF-8 text file as `write_bytes_atomic` does.

    Raises:
        InputError: the place cannot be written.
        DiskFullError: the disk is full.
    """
    write_bytes_atomic(path, content.encode())


def check_place(path: Path) -> None:
    """Refuses a file or folder that could not be written, before long work is done for it.

    A nameless file is made and gone again where the first new one would lie: permissions do not tell of a file system
    that takes none.

    Raises:
        InputError: what is to hold it is no folder, or nothing can be made there.
    """
    holder = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if holder == path and not path.is_dir():
        holder = path.absolute().parent
    try:
        tempfile.TemporaryFile(dir=holder).close()
    except OSError as error:
        why = "may not be written to" if holder.is_dir() else "is no folder"
        raise InputError(f"{path}: cannot be written ({holder} {why}); give another place") from error


def check_folder(path: Path) -> None:
    """Refuses a place that files could not be put into, before long work is done for them.

    Raises:
        InputError: a file lies there, or nothing can be made there.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; give a folder")
    check_place(path)


def check_new_folder(out: Path) -> None:
    """Refuses a place where no new folder can be made without touching what is there.

    Raises:
        InputError: it has no name of its own, or something other than an empty folder lies there.
    """
    if not out.name:
        raise InputError(f"--out {out}: give the name of a new folder")
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise InputError(f"{out}: is there already; nothing is overwritten, so give a new folder")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Makes a folder: the body fills the one that is yielded, which takes its place when the body is through.

    Args:
        out: not there yet, or empty; missing parents are made.

    Raises:
        InputError: as `check_new_folder`, or the place cannot be written.
        DiskFullError: the disk is full.
    """
    check_new_folder(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
        try:
            part.chmod(0o777 & ~_umask())
            yield part
            if out.exists():
                out.rmdir()
            part.rename(out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except FaceletError:  # some are OSErrors
        raise
    except OSError as error:
        raise cannot_write(out, error) from error


def _umask() -> int:
    """The process's file mode mask; the system only tells it while setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
