"""Files that appear whole or not at all: written beside their place, then moved there in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from facelet.errors import InputError


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new one.

    Args:
        path: the file; missing parent folders are made.
        content: all of it.

    Raises:
        InputError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            part.chmod(0o666 & ~_umask())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); give another place") from error


def write_text_atomic(path: Path, content: str) -> None:
    """Writes a UTF-8 text file as `write_bytes_atomic` does.

    Raises:
        InputError: the place cannot be written.
    """
    write_bytes_atomic(path, content.encode())


def _umask() -> int:
    """The process's file mode mask; the system only tells it while setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
