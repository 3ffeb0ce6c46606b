"""Places that jobs write to, checked before the work begins."""

from __future__ import annotations

from pathlib import Path

from facelet.atomic import check_place
from facelet.errors import OptionError


def check_model_out(out: Path, *read: str | Path) -> None:
    """Refuses a place where no model file can be written.

    Args:
        out: the place.
        read: names or files of the models that the job reads.

    Raises:
        OptionError: not a file that ends in .onnx, or one of those that are read.
        InputError: a place that cannot be written.
    """
    if out.suffix != ".onnx" or out.is_dir():
        raise OptionError(f"`out` {out}: give a file that ends in .onnx")
    if any(Path(model).exists() and out.exists() and out.samefile(model) for model in read):
        raise OptionError(f"`out` {out}: is a model that is read; give another file")
    check_place(out)
