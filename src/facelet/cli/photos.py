"""What `facelet embed` and `facelet align` share: the faces of many photos, those without one left out if wished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from facelet.cli.output import Output
from facelet.errors import InputError, shown

if TYPE_CHECKING:
    from facelet.faces.detect import Detector
    from facelet.faces.quality import Quality
    from facelet.photo import FaceCrop

ImagesArgument = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos.")]
EveryOption = Annotated[bool, typer.Option("--all", help="All faces of each photo, not only the main one.")]
SkipOption = Annotated[
    bool,
    typer.Option("--skip", help="Leave out photos without a face, not readable or not there; do not end there."),
]


class Found(NamedTuple):
    """A face of a photo; `number` counts those of one photo, the main one is 0."""

    image: Path
    number: int
    face: FaceCrop


def quality_record(quality: Quality | None) -> dict[str, Any]:
    """A face's quality as JSON has it: the figure, what lowers it, and its true resolution in pixels."""
    if quality is None:
        return {"quality": None, "causes": [], "resolution": None}
    return {
        "quality": round(quality.score, 4),
        "causes": list(quality.causes),
        "resolution": round(quality.resolution, 1),
    }


def check_apart(target: Path, images: Sequence[Path]) -> None:
    """Refuses to write over a photo that is read.

    Raises:
        InputError: the place is that of one of them.
    """
    if target.exists() and any(_is_same(target, image) for image in images):
        raise InputError(f"{target}: is one of the photos, which would be lost; give another place")


def _is_same(target: Path, image: Path) -> bool:
    """Whether two paths lead to one file; none has a name that is too long for one."""
    try:
        return image.exists() and target.samefile(image)
    except (OSError, ValueError):
        return False


def faces_in(
    images: Sequence[Path],
    template: str,
    size: tuple[int, int],
    detector: Detector | None,
    *,
    every: bool,
    skip: bool,
    show: Output,
) -> tuple[list[Found], list[Path]]:
    """Cuts the faces out of photos, with a bar.

    Args:
        images: the photos.
        template: of the alignment, or "box".
        size: height and width of a crop in pixels.
        detector: what finds them; None takes the default.
        every: all faces of a photo, not only the main one.
        skip: go on behind a photo that has no face or is not readable or not there, and say so.
        show: where.

    Returns:
        The faces, and the photos that were left out.

    Raises:
        FaceNotFoundError, ImageError, MissingFileError: a photo has none, is not readable or not there, and `skip` is
            off.
        InputError: no photo has a face.
    """
    from facelet.photo import UNUSABLE, photo_faces

    found: list[Found] = []
    skipped: list[tuple[Path, str]] = []
    notes: list[str] = []
    with show.progress("faces") as advance:
        for index, image in enumerate(images):
            try:
                seen = photo_faces(image, template, *size, detector, every=every)
            except UNUSABLE as error:
                if not skip:
                    raise
                skipped.append((image, str(error)))
            else:
                notes += (*seen.crops[0].notes, *seen.left_out)
                found += [Found(image, number, face) for number, face in enumerate(seen.crops)]
            advance(index + 1, len(images))
    for note in notes:
        show.note(note)
    for _, why in skipped:
        show.note(f"left out: {why}")
    if not found:
        raise InputError(f"{shown(images[0])}: none of {len(images)} photos has a face; give others")
    return found, [image for image, _ in skipped]
