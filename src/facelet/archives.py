"""What reading a damaged archive may raise."""

from __future__ import annotations

import tarfile
import zipfile
import zlib

TAR_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error)
"""Of a tar file, compressed or not."""

NPZ_ERRORS = (zipfile.BadZipFile, EOFError, OSError, zlib.error, KeyError, TypeError, ValueError)
"""Of NumPy's `.npz` whose arrays are all read: no such file, none of its kind, cut short, an array that is missing."""
