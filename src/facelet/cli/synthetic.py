"""`facelet synthetic`: learn, sample and check the model of faces that belong to nobody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import ModelOption, ThreadsOption
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption, percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facelet.data.transfer import TransferSet

app = typer.Typer(no_args_is_help=True, help="Faces that belong to nobody: sample them, learn their model, check it.")

TransferOption = Annotated[
    Path, typer.Option("--transfer", help="Folder of transfer shards, or of aligned crops in one folder per person.")
]
FaceModelOption = Annotated[
    Path | None, typer.Option("--face-model", help="What `facelet synthetic build` wrote; the shipped one without.")
]
SHEET_PEOPLE, SHEET_PHOTOS, SHEET_SIDE = 6, 8, 64
SHEET_FILE = "contact_sheet.png"


@app.command("sample")
def sample(
    out: Annotated[
        Path, typer.Option("--out", help="New folder: contact_sheet.png, and faces/ with a folder per person.")
    ],
    identities: Annotated[int, typer.Option("--identities", min=1, help="Number of people.")] = 100,
    photos: Annotated[int, typer.Option("--photos", min=1, help="Photos of each.")] = 10,
    face_model: FaceModelOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Write photos of synthetic people, a folder each, and a contact sheet."""
    import cv2

    from facelet.atomic import new_folder
    from facelet.data.synthetic import FaceModel, contact_sheet

    show = Output(json_, quiet)
    model = FaceModel.load(face_model)
    total = identities * photos
    sheet: list[NDArray[np.uint8]] = []
    with new_folder(out) as part, show.progress("sampling") as advance:
        for index in range(identities):
            person = model.sample_identity(seed, index)
            crops, _ = model.render_many([(person, photo) for photo in range(photos)])
            folder = part / "faces" / f"n{index:06d}"
            folder.mkdir(parents=True)
            for photo, crop in enumerate(crops):
                _, encoded = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
                (folder / f"{photo:04d}_01.jpg").write_bytes(encoded.tobytes())
            if index < SHEET_PEOPLE:
                sheet.append(crops[:SHEET_PHOTOS])
            advance((index + 1) * photos, total)
        _write_png(part / SHEET_FILE, contact_sheet(sheet, SHEET_SIDE))
    sheet_path = out / SHEET_FILE
    show.value(
        {
            "out": str(out / "faces"),
            "identities": identities,
            "photos": total,
            "contact_sheet": str(sheet_path),
            "seed": seed,
        }
    )
    show.line(f"{total:,} photos of {identities:,} people in {out / 'faces'}; look at {sheet_path}")


@app.command("build")
def build(
    transfer: TransferOption,
    out: Annotated[Path, typer.Option("--out", help="The .npz to write.")] = Path("synthetic_faces.npz"),
    components: Annotated[int, typer.Option("--components", min=10, max=1000, help="Texture components.")] = 250,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Learn the face model from a transfer set of aligned crops."""
    from facelet.atomic import check_place
    from facelet.data.synthetic import FaceModel
    from facelet.data.synthetic_build import build_face_model
    from facelet.errors import InputError

    show = Output(json_, quiet)
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the name of a .npz file")
    check_place(out)
    faces = _open(transfer, show)
    with show.progress("learning") as advance:
        size_bytes = build_face_model(
            faces, out, seed=seed, n_components=components, progress=lambda _step, done, total: advance(done, total)
        )
    model = FaceModel.load(out)
    record: dict[str, Any] = {
        "out": str(out),
        "size_bytes": size_bytes,
        "n_images": model.n_images,
        "n_identities": model.n_identities,
        "n_components": len(model.basis),
        "least_effective_images": float(model.effective_images.min()),
    }
    show.value(record)
    show.table("", ("what", "value"), list(record.items()))


@app.command("check")
def check(
    transfer: TransferOption,
    model: ModelOption = "nn4_small2",
    samples: Annotated[int, typer.Option("--samples", min=50, help="Synthetic photos, and unseen real ones.")] = 500,
    limit: Annotated[int | None, typer.Option("--limit", min=500, help="Training photos at most; all without.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.json.")] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Also write nearest.png into --out. It shows real people: keep it private.")
    ] = False,
    face_model: FaceModelOption = None,
    threads: ThreadsOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Check that the face model shows and remembers no real person."""
    import json

    from facelet.atomic import check_folder, write_text_atomic
    from facelet.canvas import embed_canvas
    from facelet.data.synthetic import FaceModel, contact_sheet
    from facelet.data.synthetic_check import check_privacy
    from facelet.embedder import Embedder
    from facelet.errors import InputError

    show = Output(json_, quiet)
    if sheet and out is None:
        raise InputError("--sheet: needs --out, the folder to write it to")
    if out is not None:
        check_folder(out)
    embedder = Embedder.load(model, threads=threads)
    faces = _open(transfer, show)
    with show.progress("comparing") as advance:
        report, nearest = check_privacy(
            FaceModel.load(face_model),
            faces,
            lambda crops: embed_canvas(embedder, crops),
            n_samples=samples,
            limit=limit,
            seed=seed,
            progress=lambda _step, done, total: advance(done, total),
        )
    record = {**report.to_dict(), "model": embedder.card.name, "transfer": faces.key, "seed": seed}
    if out is not None:
        write_text_atomic(out / "report.json", json.dumps(record, indent=2) + "\n")
    if sheet and out is not None:
        import numpy as np

        worst = np.argsort(nearest.embedding_distance)[:12]
        real = (faces.crops[rows[worst]] for rows in (nearest.by_embedding, nearest.by_pixels))
        _write_png(out / "nearest.png", contact_sheet([nearest.samples[worst], *real]))
    show.value(record)
    columns = ("what", "least", "1 %", "median", "99 %")
    show.table("embedding distance (squared Euclidean)", columns, _spreads(record, "embedding"))
    show.table("pixel distance (grey levels)", columns, _spreads(record, "pixel"))
    show.table("photo to its own projection on the model", columns, _spreads(record, "projection"))
    rates: tuple[str, ...] = ("accepted_sample", "accepted_held_out", "accepted_stored", "projection_accepted_training")
    rates += ("projection_accepted_held_out",)
    rows = [(name, percent(record[name])) for name in rates]
    plain = ("threshold", "membership_auc_embedding", "membership_auc_pixel")
    rows += [(name, f"{record[name]:.3f}") for name in plain]
    rows += [("least_effective_images", f"{record['least_effective_images']:.0f}")]
    show.table("", ("what", "value"), rows)


def _open(transfer: Path, show: Output) -> TransferSet:
    from facelet.cache import cache_dir
    from facelet.data.transfer import open_transfer_set

    with show.progress("packing") as advance:
        return open_transfer_set(transfer, cache_dir(), progress=advance)


def _spreads(record: dict[str, Any], start: str) -> list[tuple[str, ...]]:
    rows = []
    for name, value in record.items():
        if name.startswith(start) and isinstance(value, dict):
            rows.append((name, *(f"{value[key]:.2f}" for key in ("least", "p01", "median", "p99"))))
    return rows


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    import cv2

    from facelet.atomic import write_bytes_atomic

    _, encoded = cv2.imencode(".png", image[..., ::-1])
    write_bytes_atomic(path, encoded.tobytes())
