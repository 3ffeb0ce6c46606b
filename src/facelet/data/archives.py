"""What reading a damaged archive may raise."""

from __future__ import annotations

import tarfile
import zlib

TAR_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error)
"""Of a tar file, compressed or not."""
