"""`facelet cluster`: a folder of photos sorted by person, with a contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelet.cli.options import (
    BackendOption,
    DetectorModelOption,
    DetectorOption,
    ModelOption,
    NoAlignOption,
    ThreadsOption,
    open_detector,
    refuse_idle,
)
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.faces import DEFAULT_DETECTOR

MOST_NAMED = 10
"""Files that are named on standard error because they could not be read; the record names all."""


def cluster(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Photos, in it and below it.")],
    out: Annotated[Path, typer.Option("--out", help="New folder: person-001, ..., unsorted, index.html.")],
    model: ModelOption = "facelet_s",
    far: Annotated[float, typer.Option("--far", help="False accept rate whose threshold in the card joins.")] = 1e-3,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Squared distance below which groups join, in place of --far.")
    ] = None,
    min_face: Annotated[int, typer.Option("--min-face", help="Shorter side in pixels of the smallest face.")] = 24,
    link: Annotated[bool, typer.Option("--link", help="Symbolic links in place of copies.")] = False,
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    no_align: NoAlignOption = False,
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Sort photos by person, with a contact sheet."""
    from facelet.embedder import Embedder
    from facelet.model_files import load_model
    from facelet.photo_clusters import RECORD_FILE, SHEET_FILE, SortOptions, check_options, sort_photos
    from facelet.photo_folder import list_photos

    show = Output(json_, quiet)
    if threshold is not None:
        refuse_idle(context, "beside --threshold", "--far")
    list_photos(folder)
    chosen = load_model(model).card.threshold_at(far) if threshold is None else threshold
    options = SortOptions(folder, out, chosen, min_face, align=not no_align, link=link)
    check_options(options)
    finder = open_detector(detector, detector_model)
    embedder = Embedder.load(model, backend=backend, threads=threads)
    record = sort_photos(options, embedder, finder, show.progress)
    show.value({**record, "out": str(out)})
    rows = [
        (
            person["name"],
            person["n_photos"],
            person["n_faces"],
            f"{person['widest']:.4f}",
            "-" if person["nearest"] is None else f"{person['nearest']} at {person['nearest_distance']:.4f}",
        )
        for person in record["people"]
    ]
    title = f"{record['n_faces']:,} faces in {record['n_photos']:,} photos, joined below {chosen:.4f}"
    show.table(title, ("person", "photos", "faces", "widest pair", "nearest other"), rows)
    for entry in record["notes"]:
        show.note(entry["note"])
    if record["unclear"]:
        n = len(record["unclear"])
        show.note(f"{n} face{'' if n == 1 else 's'} too unclear to compare: in the folder unclear")
    if record["unsorted"] or record["unreadable"]:
        show.note(f"{len(record['unsorted'])} photos without a face, {len(record['unreadable'])} not readable")
    for entry in record["unreadable"][:MOST_NAMED]:
        show.note(f"not readable: {entry['reason']}")
    for entry in record["not_entered"][:MOST_NAMED]:
        show.note(f"not looked into: {entry['folder']} ({entry['reason']})")
    if max(len(record["unreadable"]), len(record["not_entered"])) > MOST_NAMED:
        show.note(f"and others, all named in {out / RECORD_FILE}")
    show.line(f"contact sheet: {out / SHEET_FILE}")
