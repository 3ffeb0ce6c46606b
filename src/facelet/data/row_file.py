"""A `.npy` file that is written row by row, and read as any other.

Its whole size is taken from the disk when it is made, and rows are written, not mapped: a disk that is full is an error
there and then, while a write to a mapped file that the disk has no room for ends the process (SIGBUS).
"""

from __future__ import annotations

import errno
import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from facelet.atomic import full_disk_named


class RowFile:
    """An array file to write rows into; it is open during each call only.

    Args:
        path: one that is there is gone on with, and must have this shape and type; else it is made, of zeros.
        shape: of the array, rows first.
        dtype: of the array.

    Raises:
        DiskFullError: the disk has no room for all of it; nothing is left of a file that was to be made.
        ValueError: what is there is another array, or none.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self._path, self._shape, self._dtype = path, shape, np.dtype(dtype)
        if not path.exists():
            self._make()
        self._start = self._read_header()

    def write(self, first: int, rows: NDArray[Any]) -> None:
        """Writes rows from a place on.

        Raises:
            DiskFullError: the disk is full, which happens on file systems that promise no space.
        """
        content = np.ascontiguousarray(rows, self._dtype)
        with full_disk_named(self._path), self._path.open("r+b") as file:
            file.seek(self._start + first * self._row_bytes())
            file.write(content.data)

    def cut(self, n_rows: int) -> None:
        """Ends the file after so many rows."""
        self._shape = (n_rows, *self._shape[1:])
        header = self._header()
        if len(header) != self._start:
            raise ValueError(f"{self._path}: its header cannot hold {n_rows} rows")
        with self._path.open("r+b") as file:
            file.write(header)
            file.truncate(self._start + n_rows * self._row_bytes())

    def _row_bytes(self) -> int:
        return math.prod(self._shape[1:]) * int(self._dtype.itemsize)

    def _header(self) -> bytes:
        stream = io.BytesIO()
        about = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self._shape}
        npy.write_array_header_1_0(stream, about)  # leaves room for a longer number of rows
        return stream.getvalue()

    def _make(self) -> None:
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            with full_disk_named(self._path), part.open("wb") as file:
                header = self._header()
                file.write(header)
                file.flush()
                _take_space(file.fileno(), len(header) + self._shape[0] * self._row_bytes())
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)

    def _read_header(self) -> int:
        with self._path.open("rb") as file:
            npy.read_magic(file)
            shape, fortran, dtype = npy.read_array_header_1_0(file)
            if (shape, fortran, dtype) != (self._shape, False, self._dtype):
                raise ValueError(f"{self._path}: holds {dtype} {shape}; expected {self._dtype} {self._shape}")
            return file.tell()


def _take_space(file: int, size: int) -> None:
    """Gives an open file its size and, where the system and the file system can, the space on the disk for it."""
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # macOS has no such call
        os.ftruncate(file, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(file, size)
