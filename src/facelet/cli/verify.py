"""`facelet verify` and `facelet embed`: photos in, a verdict or unit vectors out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated, Any

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
from facelet.cli.photos import EveryOption, ImagesArgument, SkipOption, check_apart, faces_in, quality_record
from facelet.errors import InputError, UnknownNameError
from facelet.faces import DEFAULT_DETECTOR

EMBEDDING_KINDS = (".npz", ".npy", ".json")


def verify(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A", help="A photo.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another photo.")],
    model: ModelOption = "facelet_s",
    far: Annotated[float, typer.Option("--far", help="False accept rate whose threshold decides.")] = 1e-3,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Squared distance that decides, in place of --far.")
    ] = None,
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    no_align: NoAlignOption = False,
    every: Annotated[
        bool, typer.Option("--all", help="Compare every face of A with every face of B; the nearest pair decides.")
    ] = False,
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Tell whether two photos show one person."""
    from facelet.embedder import Embedder
    from facelet.model import checked_threshold
    from facelet.verdict import verify as verify_photos

    out = Output(json_, quiet)
    if threshold is not None:
        refuse_idle(context, "beside --threshold", "--far")
        checked_threshold("--threshold", threshold)
    finder = open_detector(detector, detector_model)
    embedder = Embedder.load(model, backend=backend, threads=threads)
    rate = far if threshold is None else None
    result = verify_photos(
        a, b, model=embedder, far=rate, threshold=threshold, detector=finder, align=not no_align, every=every
    )
    for note in result.notes:
        out.note(note)
    out.value(
        {
            "same": result.same,
            "uncertain": result.uncertain,
            "verdict": result.verdict,
            "distance": result.distance,
            "threshold": result.threshold,
            "far": result.far,
            "far_measured": result.far_measured,
            "n_pairs": result.n_pairs,
            "model": embedder.card.name,
            "detector": finder.name,
            "aligned": result.aligned,
            "images": [str(a), str(b)],
            "faces": [
                {
                    "image": str(image),
                    "n_faces": face.n_faces,
                    "n_doubtful": face.n_doubtful,
                    "box": [round(edge, 1) for edge in face.box],
                    "turn": face.turn,
                    "certainty": round(face.certainty, 4),
                    **quality_record(face.quality),
                }
                for image, face in zip((a, b), result.faces, strict=True)
            ],
            "notes": list(result.notes),
        }
    )
    out.table(
        "",
        ("distance", "threshold", "FAR", "verdict", "model", "detector", "aligned"),
        [
            (
                f"{result.distance:.4f}",
                f"{result.threshold:.4f}",
                "-" if result.far is None else f"{result.far:g}" if result.far_measured else "not measured",
                result.verdict,
                embedder.card.name,
                finder.name,
                "yes" if result.aligned else "no",
            )
        ],
    )
    out.table(
        "",
        ("photo", "faces", "compared at (x0, y0, x1, y1)", "turned by", "quality"),
        [
            (
                str(image),
                face.n_faces,
                [round(edge, 1) for edge in face.box],
                f"{face.turn}°",
                "-" if face.quality is None else str(face.quality).removeprefix("quality "),
            )
            for image, face in zip((a, b), result.faces, strict=True)
        ],
    )


def embed(
    images: ImagesArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Where the vectors go: .npz, .npy or .json.", show_default="embeddings.npz, or --json"
        ),
    ] = None,
    every: EveryOption = False,
    skip: SkipOption = False,
    model: ModelOption = "facelet_s",
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    no_align: NoAlignOption = False,
    backend: BackendOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    _seed: SeedOption = 0,
) -> None:
    """Write the unit vectors of faces in photos."""
    import numpy as np

    from facelet.atomic import check_place
    from facelet.embedder import Embedder

    show = Output(json_, quiet)
    if out is None and not json_:
        out = Path("embeddings.npz")
    if out is not None and out.suffix not in EMBEDDING_KINDS:
        raise UnknownNameError(f"{out}: kind of file", out.suffix, EMBEDDING_KINDS)
    if out is not None and out.is_dir():
        raise InputError(f"{out}: is a folder; give a file name")
    if out is not None:
        check_place(out)
        check_apart(out, images)
    finder = open_detector(detector, detector_model)
    embedder = Embedder.load(model, backend=backend, threads=threads)
    card = embedder.card
    template, size = "box" if no_align else card.template, (card.height, card.width)
    found, skipped = faces_in(images, template, size, finder, every=every, skip=skip, show=show)
    vectors = embedder.embed(np.stack([face.crop for _, _, face in found]))
    records: list[dict[str, Any]] = [
        {
            "image": str(image),
            "box": [round(edge, 1) for edge in face.face.box],
            "turn": face.face.turn,
            "score": round(face.face.score, 4),
            **quality_record(face.quality),
            "embedding": [float(number) for number in vector],
        }
        for (image, _, face), vector in zip(found, vectors, strict=True)
    ]
    if out is not None:
        _write(out, {"model": card.name, "faces": records}, vectors)
        show.note(f"{out}: {len(records)} unit vectors of {card.embedding_size} numbers")
    kept = records if out is None else [{k: v for k, v in r.items() if k != "embedding"} for r in records]
    show.value(
        {
            "model": card.name,
            "embedding_size": card.embedding_size,
            "out": None if out is None else str(out),
            "faces": kept,
            "skipped": [str(image) for image in skipped],
        }
    )
    show.table(
        "", ("photo", "face at (x0, y0, x1, y1)", "score"), [(r["image"], r["box"], r["score"]) for r in records]
    )


def _write(out: Path, content: dict[str, Any], vectors: Any) -> None:
    """Writes vectors in the kind of file that the name says."""
    import numpy as np

    from facelet.atomic import write_bytes_atomic

    stream = io.BytesIO()
    if out.suffix == ".json":
        stream.write(json.dumps(content).encode())
    elif out.suffix == ".npy":
        np.save(stream, vectors)
    else:
        faces = content["faces"]
        np.savez_compressed(
            stream,
            embeddings=vectors,
            images=np.array([face["image"] for face in faces]),
            boxes=np.array([face["box"] for face in faces], np.float32),
            model=np.array(content["model"]),
        )
    write_bytes_atomic(out, stream.getvalue())
