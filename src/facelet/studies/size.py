"""What width, depth, resolution and embedding size buy: accuracy against parameters, MACs and milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from facelet.model_files import SHIPPED_MODELS, load_model
from facelet.studies.arms import BATCH, MIXING, Accuracy, distilled
from facelet.studies.labels import label_points
from facelet.studies.opencl_ms import opencl_ms
from facelet.studies.seeds import over_seeds
from facelet.studies.study import Context, Row, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FACTORS: dict[str, tuple[str, ...]] = {
    "width": ("0.5", "0.75", "1.5"),
    "depth": ("0.5", "1.5"),
    "embedding": ("32", "64"),
    "resolution": ("64", "80", "112"),
}
"""Arms beside the base, one factor changed in each (`facelet.nets.scaled`)."""

OTHERS = ("mobilenet_v2_035",)
"""Of another family, with the same schedule."""

QUICK_ARMS = ("width=0.5,depth=0.5,resolution=48,embedding=64",)
STEPS, QUICK_STEPS = 240, 8
TURNS, QUICK_TURNS = 30, 2

QUICK: dict[str, Any] = {"recipe": "mixing", "views": 1}
"""Options of the arms where the study is but tried."""

FIGURES = ("accuracy", "std", "auc")

ARM, SHIPPED, PUBLISHED = "short schedule", "shipped", "published"
VIEW_2 = "lfw_view2_yunet"

PAPERS: tuple[tuple[str, float, float], ...] = (
    ("PocketNetS-256", 0.99, 99.66),
    ("PocketNetS-128", 0.92, 99.58),
    ("EdgeFace-xxs", 1.24, 99.57),
    ("MobileFaceNet", 0.99, 99.55),
    ("ShuffleFaceNet 0.5x", 0.50, 99.23),
    ("OpenFace nn4.small2.v1", 3.73, 92.92),
    ("original work, student", 0.87, 83.28),
    ("original work, teacher", 3.74, 81.07),
)
"""Net, million parameters, accuracy on LFW View 2 in percent.

Source: Martinez-Diaz et al., "ShuffleFaceNet", ICCVW 2019; Boutros et al., "PocketNet", IEEE Access 2022; Chen et al.,
"MobileFaceNets", CCBR 2018; George et al., "EdgeFace", IEEE T-BIOM 2024; Amos et al., "OpenFace", CMU-CS-16-118, 2016.
"""


def run(context: Context) -> list[Row]:
    """Every arm from scratch with each seed, the shipped nets as they are, and what is published of others.

    The first model is the base of the arms, the others are their teachers.
    """
    student, teachers = context.models[0], context.models[1:]
    steps = QUICK_STEPS if context.quick else STEPS
    accuracy = Accuracy(context)
    models: dict[str, tuple[str, str | Path]] = {}
    figures: dict[str, Row] = {}
    for name in _arms(context, student):
        files = [
            distilled(
                context,
                f"{name}-{seed}",
                context.transfer,
                steps,
                student=name,
                teachers=teachers,
                seed=seed,
                view_seed=context.seeds[0],
                **(QUICK if context.quick else MIXING),
            )
            for seed in context.seeds
        ]
        told = [accuracy.of(file) for file in files]
        models[f"{ARM} {name}"] = (ARM, files[0])
        figures[f"{ARM} {name}"] = over_seeds(told, FIGURES, ("accuracy", "auc"))
    for name in _shipped(context):
        models[name], figures[name] = (SHIPPED, name), accuracy.of(name)
    ms = opencl_ms({key: model for key, (_, model) in models.items()}, QUICK_TURNS if context.quick else TURNS)
    rows = [{**_cost(kind, model), "ms": ms[key], **figures[key]} for key, (kind, model) in models.items()]
    papers = [{"name": name, "kind": PUBLISHED, "parameters": 1e3 * p, "view2": lfw} for name, p, lfw in PAPERS]
    return [*rows, *papers]


def _arms(context: Context, student: str) -> list[str]:
    """Names of nets, those of the base's input size first."""
    if context.quick:
        return [f"{student}@{arm}" for arm in QUICK_ARMS]
    scaled = [f"{student}@{factor}={value}" for factor, values in FACTORS.items() for value in values]
    return [student, *OTHERS, *scaled]


def _shipped(context: Context) -> tuple[str, ...]:
    """Shipped nets in floating point; their integer forms have the same size and nearly the same accuracy."""
    floats = tuple(name for name in SHIPPED_MODELS if not name.endswith("_int8"))
    return floats[-1:] if context.quick else floats


def _cost(kind: str, model: str | Path) -> Row:
    """What a file says of its net, in thousands of parameters, millions of MACs and kilobytes."""
    found = load_model(model)
    card = found.card
    view2 = card.metrics.get(VIEW_2)
    return {
        "name": card.name,
        "kind": kind,
        "parameters": card.parameters / 1e3,
        "macs": card.macs / 1e6,
        "kilobytes": found.size_bytes / 1e3,
        "view2": None if view2 is None else 100 * view2,
    }


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points `(cost, accuracy)` that no other equals at less cost or beats at the same, cheapest first."""
    kept: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or accuracy > kept[-1][1]:
            kept.append((cost, accuracy))
    return kept


def draw(rows: list[Row], figure: Figure) -> None:
    """Three panels of the short schedule against its costs, and one of View 2 as shipped and as published."""
    figure.set_size_inches(11, 8.5)
    panels = figure.subplots(2, 2)
    arms = [row for row in rows if row["kind"] == ARM]
    costs = (("parameters", "thousand parameters"), ("macs", "million MACs"), ("ms", "OpenCL ms, one thread"))
    for axes, (key, title) in zip(panels.flat, costs, strict=False):
        _draw_arms([row for row in arms if row[key] is not None], key, axes)
        axes.set_xlabel(title)
        axes.set_ylabel("accuracy after the short schedule, %")
    draw_view_2([row for row in rows if row["view2"] is not None], panels.flat[3])
    panels.flat[0].legend(fontsize=8)


def _frame(axes: Axes) -> None:
    """What all panels share."""
    _scale_by_logarithm(axes, axes.xaxis)
    axes.grid(alpha=0.3)
    axes.margins(x=0.18)


def _scale_by_logarithm(axes: Axes, axis: Axis) -> None:
    """With plain numbers as ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _draw_front(best: list[tuple[float, float]], axes: Axes) -> None:
    axes.step([x for x, _ in best], [y for _, y in best], where="post", color="0.85", linewidth=6, label="Pareto front")


def _draw_arms(rows: list[Row], key: str, axes: Axes) -> None:
    """One line a factor through the base, the other nets as crosses, and the front."""
    if not rows:
        axes.text(0.5, 0.5, "no OpenCL device", transform=axes.transAxes, ha="center")
        return
    _draw_front(front([(row[key], row["accuracy"]) for row in rows]), axes)
    scaled = [row for row in rows if "@" in row["name"]]
    bases = [row for row in rows if any(other["name"].startswith(f"{row['name']}@") for other in scaled)]
    for factor in dict.fromkeys(_factor(row)[0] for row in scaled):
        line = sorted([*bases, *(row for row in scaled if _factor(row)[0] == factor)], key=lambda row: float(row[key]))
        axes.plot([row[key] for row in line], [row["accuracy"] for row in line], marker="o", label=factor)
    for row in rows:
        if row not in scaled:
            axes.plot(row[key], row["accuracy"], "ks" if row in bases else "kx")
    _frame(axes)
    label_points(axes, [(_factor(row)[1] or row["name"], row[key], row["accuracy"]) for row in rows])


def _factor(row: Row) -> tuple[str, str]:
    """`width` and `0.5` of a net that is scaled so; of others nothing."""
    factor, _, value = row["name"].partition("@")[2].partition("=")
    return factor, value


def draw_view_2(rows: list[Row], axes: Axes) -> None:
    """Errors on LFW against the size of nets, by the logarithm, as most of them make few.

    Args:
        rows: `name`, `kind` (shipped or published), `parameters` in thousands and `view2` in percent of each net.
        axes: to draw on.
    """
    _scale_by_logarithm(axes, axes.yaxis)
    axes.invert_yaxis()
    errors = {row["name"]: 100 - row["view2"] for row in rows}
    _draw_front([(x, 100 - y) for x, y in front([(row["parameters"], row["view2"]) for row in rows])], axes)
    for kind, color in ((SHIPPED, "tab:blue"), (PUBLISHED, "0.4")):
        mine = [row for row in rows if row["kind"] == kind]
        axes.plot(
            [row["parameters"] for row in mine], [errors[row["name"]] for row in mine], "o", color=color, label=kind
        )
    axes.set_xlabel("thousand parameters")
    axes.set_ylabel("errors on LFW View 2, %")
    axes.legend(fontsize=8, loc="lower left")
    _frame(axes)
    label_points(axes, [(row["name"], row["parameters"], errors[row["name"]]) for row in rows])


SIZE = Study(
    name="size",
    title="What size buys",
    question="A student is made wider, deeper, finer or longer in its embedding, one at a time (`facelet distill "
    f"facelet_xs@width=0.5`), and learns from scratch for the same {STEPS} steps of {BATCH} crops: a short schedule, "
    "the same for every arm, so these rows compare with each other alone. The shipped nets, fully trained, and "
    'published ones stand beside them; "LFW View 2" is what the cards (YuNet) and the papers say.',
    models=("facelet_xs", "facelet_s"),
    columns=(
        ("name", "net"),
        ("kind", "what"),
        ("parameters", "thousand parameters"),
        ("macs", "million MACs"),
        ("ms", "OpenCL ms"),
        ("kilobytes", "file kB"),
        ("accuracy", "accuracy %"),
        ("std", "± over folds"),
        ("accuracy_apart", "seeds apart by"),
        ("auc", "AUC %"),
        ("auc_apart", "seeds apart by"),
        ("view2", "LFW View 2 %"),
    ),
    run=run,
    draw=draw,
)
