"""`facelet distill` and `facelet train triplet`: a transfer set in, a model file with its card out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facelet.cli.options import DetectorModelOption, DetectorOption, open_detector, refuse_idle
from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.errors import FaceNotFoundError, ImageError, InputError, ModelError, UnknownNameError, training_extra
from facelet.faces import DEFAULT_DETECTOR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facelet.data.transfer import TransferSet
    from facelet.train.loop import Tick, Watcher
    from facelet.train.run import Run

NET_HELP = "The net to train (see: facelet models), or one scaled: facelet_xs@width=0.75,resolution=80."
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Transfer set: shards (.tar, .tar.gz) or a folder of images; synthetic faces without."),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the run: model.onnx, checkpoint, curves.")]
EpochsOption = Annotated[float, typer.Option("--epochs", help="Passes over the training crops.")]
MinutesOption = Annotated[
    float, typer.Option("--minutes", min=0, help="End by then, the schedule hurried if need be; 0: no limit.")
]
LearningRateOption = Annotated[float, typer.Option("--learning-rate", help="Peak of the schedule.")]
WarmupOption = Annotated[float, typer.Option("--warmup", help="Fraction of the steps over which the rate rises.")]
ScheduleOption = Annotated[str, typer.Option("--schedule", help="How the rate falls after it: cosine or linear.")]
RecipeOption = Annotated[str, typer.Option("--recipe", help="Augmentation: light, standard, mixing, unaligned, both.")]
GeometryOption = Annotated[float, typer.Option("--geometry", help="Factor on the recipe's rotation, zoom and shift.")]
PhotometryOption = Annotated[
    float, typer.Option("--photometry", help="Factor on the recipe's brightness, colour, loss of colour and blur.")
]
OptimizerOption = Annotated[str, typer.Option("--optimizer", help="muon or adamw.")]
WeightDecayOption = Annotated[float, typer.Option("--weight-decay", help="Decoupled, on kernels.")]
EmaOption = Annotated[float, typer.Option("--ema", help="Decay per step of averaged weights; 0 keeps none.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="fp32, or bf16 where the CPU is faster with it.")]
WarmStartOption = Annotated[
    Path | None,
    typer.Option(
        "--warm-start", help="OpenFace tensors (.npz) for nn4_small2, or checkpoint.pt or model.onnx of another run."
    ),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Processes of one CPU thread each that share every batch.")
]
ThreadsOption = Annotated[int, typer.Option("--threads", help="CPU threads.")]
CheckpointOption = Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")]
WatchOption = Annotated[float, typer.Option("--watch-every", min=0, help="Epochs between validations; 0: at the end.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the run folder's checkpoint.")]
LfwOption = Annotated[
    Path | None, typer.Option("--lfw", help="LFW's folder; the student's View-1 accuracy is watched.")
]
NameOption = Annotated[str, typer.Option("--name", help="Name in the model's card; the net's without it.")]
ExcludeOption = Annotated[
    bool, typer.Option("--exclude-heldout", help="Keep the people of the benchmark heldout out of the training.")
]
NoDetectOption = Annotated[
    bool, typer.Option("--aligned", help="The images of a folder are aligned crops already; do not look for faces.")
]
RealignOption = Annotated[
    bool, typer.Option("--realign", help="Lay crops that come aligned anew, by the net of landmarks.")
]

SYNTHETIC_IDENTITIES, SYNTHETIC_PHOTOS = 1000, 8


def distill(
    context: typer.Context,
    student: Annotated[str, typer.Argument(metavar="STUDENT", help=NET_HELP)],
    teacher: Annotated[
        list[str], typer.Option("--teacher", help="A model's name or file; more than once for several teachers.")
    ],
    data: DataOption = None,
    out: OutOption = Path("runs/distill"),
    epochs: EpochsOption = 20.0,
    minutes: MinutesOption = 0.0,
    batch: Annotated[int, typer.Option("--batch", help="Images in a step.")] = 64,
    learning_rate: LearningRateOption = 4e-3,
    warmup: WarmupOption = 0.05,
    schedule: ScheduleOption = "cosine",
    recipe: RecipeOption = "standard",
    geometry: GeometryOption = 1.0,
    photometry: PhotometryOption = 1.0,
    views: Annotated[
        int, typer.Option("--views", min=0, help="Cached augmented views per crop; 0 draws fresh ones each epoch.")
    ] = 0,
    join: Annotated[
        str, typer.Option("--join", help="Several teachers: concatenate, average or procrustes.")
    ] = "concatenate",
    loss: Annotated[
        str,
        typer.Option("--loss", help="mse, cosine, huber, mse+relational, mse+contrastive, mse+margin (needs labels)."),
    ] = "mse",
    loss_weight: Annotated[
        float | None, typer.Option("--loss-weight", help="Of what follows the plus.", show_default="each has its own")
    ] = None,
    tap: Annotated[
        list[str] | None,
        typer.Option("--tap", help="Tensor of the first teacher that guides an inner layer; shallow to deep."),
    ] = None,
    hint_weight: Annotated[float, typer.Option("--hint-weight", min=0, help="Of each guided layer.")] = 1.0,
    teacher_precision: Annotated[
        str, typer.Option("--teacher-precision", help="f32, bf16 (OpenVINO), or online f16.")
    ] = "f32",
    holdout: Annotated[
        float, typer.Option("--holdout", min=0, max=0.5, help="Fraction that measures only, one crop at least.")
    ] = 0.02,
    view_seed: Annotated[
        int | None,
        typer.Option(
            "--view-seed", min=0, help="Of views alone: runs of several seeds share their cache.", show_default="--seed"
        ),
    ] = None,
    degrade: Annotated[
        float,
        typer.Option(
            "--degrade",
            min=0,
            max=1,
            help="Share of pictures that the student sees darker, covered, coarser, compressed.",
        ),
    ] = 0.0,
    first_resolution: Annotated[
        int,
        typer.Option(
            "--first-resolution", help="Side of the first pictures, whole at 60 % of the run; 0: whole throughout."
        ),
    ] = 0,
    online: Annotated[
        bool, typer.Option("--online", help="Draw views and ask the teachers during the training: for GPUs.")
    ] = False,
    passes: Annotated[int, typer.Option("--passes", min=1, help="Online: times each view is shown.")] = 1,
    device: Annotated[str, typer.Option("--device", help="Online: of torch, cpu or cuda.")] = "cpu",
    graphed: Annotated[
        bool, typer.Option("--graphed", help="Online: replay the student's step as a CUDA graph.")
    ] = False,
    optimizer: OptimizerOption = "muon",
    weight_decay: WeightDecayOption = 0.05,
    ema: EmaOption = 0.0,
    precision: PrecisionOption = "fp32",
    warm_start: WarmStartOption = None,
    threads: ThreadsOption = 2,
    workers: WorkersOption = 1,
    checkpoint_every: CheckpointOption = 200,
    watch_every: WatchOption = 1.0,
    resume: ResumeOption = False,
    lfw: LfwOption = None,
    exclude_heldout: ExcludeOption = False,
    name: NameOption = "",
    aligned: NoDetectOption = False,
    realign: RealignOption = False,
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Distil teachers into a student over a transfer set."""
    show = Output(json_, quiet)
    if not tap:
        refuse_idle(context, "without --tap", "--hint-weight")
    with training_extra():
        from facelet.train.options import DistillOptions, check_options
        from facelet.train.run import distill as run_distillation
    options = DistillOptions(
        student=student,
        out=out,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch,
        learning_rate=learning_rate,
        warmup=warmup,
        schedule=schedule,
        recipe=recipe,
        geometry=geometry,
        photometry=photometry,
        optimizer=optimizer,
        weight_decay=weight_decay,
        ema=ema,
        precision=precision,
        warm_start=warm_start,
        seed=seed,
        threads=threads,
        checkpoint_every=checkpoint_every,
        watch_every=watch_every,
        resume=resume,
        name=name,
        teachers=tuple(teacher),
        join=join,
        views=views,
        loss=loss,
        loss_weight=loss_weight,
        taps=tuple(tap or ()),
        hint_weight=hint_weight,
        teacher_precision=teacher_precision,
        holdout=holdout,
        view_seed=view_seed,
        degrade=degrade,
        first_resolution=first_resolution,
        online=online,
        passes=passes,
        device=device,
        graphed=graphed,
        workers=workers,
    )
    check_options(options)
    _note_precision(precision, device, show)
    _note_resolution(warm_start, student, show)
    transfer = open_data(data, aligned, detector, detector_model, seed, show, exclude_heldout, realign)
    watch = _view1(lfw, student, recipe, detector, detector_model, show)
    with _teacher_bars(show) as told, training_bar(show) as tick:
        run = run_distillation(options, transfer, command=command_line(), watch=watch, on_tick=tick, progress=told)
    report(run, options.out, show)


def triplet(
    student: Annotated[str, typer.Argument(metavar="NET", help=NET_HELP)],
    data: DataOption = None,
    out: OutOption = Path("runs/triplet"),
    epochs: EpochsOption = 20.0,
    minutes: MinutesOption = 0.0,
    people: Annotated[int, typer.Option("--people", help="P, people in a batch.")] = 32,
    photos: Annotated[int, typer.Option("--photos", help="K, photos of each.")] = 4,
    margin: Annotated[float, typer.Option("--margin", min=0, help="In squared distance.")] = 0.2,
    learning_rate: LearningRateOption = 1e-3,
    warmup: WarmupOption = 0.05,
    schedule: ScheduleOption = "cosine",
    recipe: RecipeOption = "standard",
    geometry: GeometryOption = 1.0,
    photometry: PhotometryOption = 1.0,
    optimizer: OptimizerOption = "adamw",
    weight_decay: WeightDecayOption = 0.05,
    ema: EmaOption = 0.0,
    precision: PrecisionOption = "fp32",
    warm_start: WarmStartOption = None,
    threads: ThreadsOption = 2,
    checkpoint_every: CheckpointOption = 200,
    watch_every: WatchOption = 1.0,
    resume: ResumeOption = False,
    lfw: LfwOption = None,
    exclude_heldout: ExcludeOption = False,
    name: NameOption = "",
    aligned: NoDetectOption = False,
    realign: RealignOption = False,
    detector: DetectorOption = DEFAULT_DETECTOR,
    detector_model: DetectorModelOption = None,
    json_: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Train a net with FaceNet's triplet loss on labelled crops."""
    show = Output(json_, quiet)
    with training_extra():
        from facelet.train.options import TripletOptions, check_options
        from facelet.train.run import train_triplet
    options = TripletOptions(
        student=student,
        out=out,
        epochs=epochs,
        minutes=minutes,
        batch_size=people * photos,
        learning_rate=learning_rate,
        warmup=warmup,
        schedule=schedule,
        recipe=recipe,
        geometry=geometry,
        photometry=photometry,
        optimizer=optimizer,
        weight_decay=weight_decay,
        ema=ema,
        precision=precision,
        warm_start=warm_start,
        seed=seed,
        threads=threads,
        checkpoint_every=checkpoint_every,
        watch_every=watch_every,
        resume=resume,
        name=name,
        people=people,
        photos=photos,
        margin=margin,
    )
    check_options(options)
    _note_precision(precision, "cpu", show)
    _note_resolution(warm_start, student, show)
    transfer = open_data(data, aligned, detector, detector_model, seed, show, exclude_heldout, realign)
    watch = _view1(lfw, student, recipe, detector, detector_model, show)
    with training_bar(show) as tick:
        run = train_triplet(options, transfer, command=command_line(), watch=watch, on_tick=tick)
    report(run, options.out, show)


def _note_precision(precision: str, device: str, show: Output) -> None:
    """Says so where bfloat16 costs time."""
    from facelet.nets.bfloat16 import has_bfloat16

    if precision == "bf16" and device == "cpu" and not has_bfloat16():
        show.note("--precision bf16: this processor does not multiply bfloat16; fp32 is several times faster on it")


def _note_resolution(warm_start: Path | None, student: str, show: Output) -> None:
    """Says so where a net goes on from a file that sees another size: its kernels fit, what it says is learned anew."""
    if warm_start is None or warm_start.suffix != ".onnx" or not warm_start.is_file():
        return
    from facelet.model_files import load_model
    from facelet.nets import build_net
    from facelet.nets.scaled import at_resolution

    try:
        theirs = load_model(warm_start).card.height
    except ModelError:  # a file without a card may still hold the net
        return
    own = int(build_net(student).input_size)  # type: ignore[arg-type]
    if theirs != own:
        show.note(
            f"--warm-start {warm_start}: sees {theirs} pixels, {student} sees {own}: its kernels are a start, what it "
            f"says is learned anew ({at_resolution(student, theirs)} goes on from it)"
        )


def command_line() -> str:
    """The command line for the card: absolute paths of files, which name a machine, are cut to their last part."""
    return shlex.join(
        ["facelet", *(Path(a).name if Path(a).is_absolute() and Path(a).exists() else a for a in sys.argv[1:])]
    )


def open_data(
    data: Path | None,
    aligned: bool,
    detector: str,
    detector_model: Path | None,
    seed: int,
    show: Output,
    exclude_heldout: bool = False,
    realign: bool = False,
) -> TransferSet:
    """The transfer set of `--data`, or synthetic faces; photos of a folder are aligned on the way in."""
    from facelet.data.transfer import holds_shards, open_transfer_set

    if realign and (data is None or not (aligned or holds_shards(data))):
        raise InputError("--realign: is for crops that come aligned (shards, or --aligned); leave it out")
    if data is None:
        if exclude_heldout:
            raise InputError("--exclude-heldout: synthetic faces have no held-out people; give --data, or leave it out")
        from facelet.data.synthetic_transfer import synthetic_transfer_set

        show.note("no photos were given: training on synthetic faces")
        return synthetic_transfer_set(SYNTHETIC_IDENTITIES, SYNTHETIC_PHOTOS, seed)
    from facelet.assets import cache_dir
    from facelet.data.views import CANVAS
    from facelet.faces.canvas import realigned
    from facelet.faces.crops import VERSION as CROPS_VERSION
    from facelet.faces.refine import landmark_refiner
    from facelet.photo import face_crops

    finder = None if aligned else open_detector(detector, detector_model)

    def align_photo(path: Path) -> NDArray[np.uint8] | None:
        try:
            return face_crops(path, "canvas", CANVAS, CANVAS, finder)[0].crop
        except (FaceNotFoundError, ImageError):
            return None

    with show.progress("reading crops") as advance:
        transfer = open_transfer_set(
            data,
            cache_dir(),
            align=None if aligned else align_photo,
            aligned_by="" if finder is None else f"{finder.version}-{CROPS_VERSION}",
            realign=(lambda crop: realigned(crop, landmark_refiner())) if realign else None,
            realigned_by=f"landmarks-{landmark_refiner().version}" if realign else "",
            progress=advance,
            exclude_heldout=exclude_heldout,
        )
    if transfer.n_skipped:
        show.note(f"{data}: {transfer.n_skipped} photos left out (no face found, or not readable)")
    return transfer


def _view1(
    lfw: Path | None, student: str, recipe: str, detector: str, detector_model: Path | None, show: Output
) -> Watcher | None:
    """A watcher of the View-1 accuracy on `--lfw`, its photos cut as the recipe's nets need it; None without it."""
    if lfw is None:
        return None
    from facelet.assets import cache_dir
    from facelet.data.lfw import load_lfw
    from facelet.data.views import RECIPES
    from facelet.evaluate.verification import fold_accuracy, pair_distances
    from facelet.faces.crops import CropCache, crop_benchmark
    from facelet.nets import build_net
    from facelet.train.measure import embed_pixels

    if recipe not in RECIPES:
        raise UnknownNameError("recipe", recipe, RECIPES)
    template = RECIPES[recipe].template
    size = int(build_net(student).input_size)  # type: ignore[arg-type]
    finder = open_detector(detector, detector_model)
    pairs, root = load_lfw(lfw, view=1, cache_dir=cache_dir())
    paths = [root / key for key in pairs.images]
    with show.progress("LFW View 1 crops") as advance:
        crops = crop_benchmark(paths, finder, template, size, size, CropCache(cache_dir() / "crops"), advance).crops

    def watch(net: Any) -> dict[str, float]:
        distances = pair_distances(embed_pixels(net, crops), pairs)
        return {"view1": float(fold_accuracy(distances, pairs).accuracies[1])}

    return watch


@contextmanager
def _teacher_bars(show: Output) -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar per teacher that embeds."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        bars: dict[str, Callable[[int, int], None]] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(show.progress(what))
            bars[what](done, total)

        yield tell


@contextmanager
def training_bar(show: Output) -> Iterator[Callable[[Tick], None]]:
    """A live bar: step, loss, images per second, time left, latest validation."""
    figures: dict[str, float] = {}
    with show.progress("training") as advance:

        def tick(tick: Tick) -> None:
            figures.update(tick.figures)
            shown = {k: v for k, v in figures.items() if not k.startswith("hint")}
            advance(tick.step, tick.steps, "  ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in shown.items()))

        yield tick


def report(run: Run, folder: Path, show: Output) -> None:
    """Tells where a run's model is and what was measured."""
    result: dict[str, Any] = {"model": str(run.model), "run": str(folder), **run.history}
    if run.fresh_layers:
        result["fresh_layers"] = list(run.fresh_layers)
        show.note(f"warm start: fresh layers are {', '.join(run.fresh_layers)}")
    show.value(result)
    rows = [(name.replace("_", " "), f"{value:.4f}") for name, value in run.history.items()]
    show.table(f"{run.model}", ("figure", "value"), rows)
