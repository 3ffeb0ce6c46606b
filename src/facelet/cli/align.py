"""`facelet align`: photos in, aligned crops out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from facelet.cli.options import DetectorModelOption, DetectorOption, open_detector
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.cli.photos import EveryOption, ImagesArgument, SkipOption, check_apart, faces_in
from facelet.errors import InputError
from facelet.faces import DEFAULT_DETECTOR


def align(
    images: ImagesArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder that the crops go to.")] = Path("crops"),
    template: Annotated[
        str, typer.Option("--template", help="Alignment: arcface, arcface_narrow, dlib; box for none.")
    ] = "arcface",
    size: Annotated[int, typer.Option("--size", help="Side of a crop in pixels.")] = 112,
    every: EveryOption = False,
    skip: SkipOption = False,
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Write the aligned face crops of photos as PNG."""
    import cv2

    from facelet.atomic import check_folder, write_bytes_atomic
    from facelet.faces.templates import load_template

    show = Output(json_, quiet)
    if not 16 <= size <= 1024:
        raise InputError(f"--size: must be 16 to 1024 pixels, found {size}")
    load_template(template)
    check_folder(out)
    finder = open_detector(detector, detector_model)
    records: list[dict[str, Any]] = []
    made: dict[Path, bytes] = {}
    found, skipped = faces_in(images, template, (size, size), finder, every=every, skip=skip, show=show)
    for image, number, face in found:
        target = out / (f"{image.stem}_{number}.png" if every else f"{image.stem}.png")
        if target in made:
            raise InputError(f"{image}: its crop would overwrite {target}; align photos of one name apart")
        check_apart(target, images)
        _, encoded = cv2.imencode(".png", face.crop[..., ::-1])
        made[target] = encoded.tobytes()
        box = [round(edge, 1) for edge in face.face.box]
        records.append({"image": str(image), "crop": str(target), "box": box})
    for target, content in made.items():
        write_bytes_atomic(target, content)
    told = {"template": template, "size": size, "detector": finder.name, "faces": records}
    show.value({**told, "skipped": [str(image) for image in skipped]})
    show.table("", ("photo", "crop", "face at (x0, y0, x1, y1)"), [(r["image"], r["crop"], r["box"]) for r in records])
