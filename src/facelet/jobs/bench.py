"""The job `bench`: one network through our engine and the runtimes that people use, in one run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from facelet.config import Option, check_config
from facelet.errors import OptionError
from facelet.events import SILENT, Events
from facelet.threads import MOST_THREADS

if TYPE_CHECKING:
    from facelet.bench.measure import Row


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Config of the job `bench`."""

    model: Annotated[str, Option("A shipped model's name, a .onnx or an .xml file.", argument="MODEL")]
    backends: Annotated[
        tuple[str, ...],
        Option(
            "A runtime or opencl:DEVICE; NAME=FILE runs another file; repeat for several.",
            flag="--backend",
            shown_default="all that are installed",
        ),
    ] = ()
    threads: Annotated[
        tuple[int, ...], Option("CPU threads; repeat for several.", shown_default="1", min=1, max=MOST_THREADS)
    ] = ()
    batches: Annotated[
        tuple[int, ...], Option("Images at once; repeat for several.", flag="--batch", shown_default="1", min=1)
    ] = ()
    blocks: Annotated[int, Option("Turns of each runtime.", min=1)] = 12
    layers: Annotated[str | None, Option("Also time each layer on this OpenCL device against the roofline.")] = None
    out: Annotated[Path, Option("Folder of bench.json and bench.png.")] = Path("runs/bench")


@dataclass(frozen=True)
class BenchResult:
    """What `bench` measured.

    Attributes:
        model: name of the model.
        sha256: of its file.
        machine: processor, cores and system.
        rows: one per runtime, thread count and batch.
        layers: one per thread count, where layers were timed.
    """

    model: str
    sha256: str
    machine: str
    rows: list[Row]
    layers: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain numbers."""
        plain = {"model": self.model, "sha256": self.sha256, "machine": self.machine}
        rows = {"rows": [vars(row) for row in self.rows]}
        return {**plain, **rows, **({"layers": self.layers} if self.layers else {})}


def bench(config: Bench, *, on: Events = SILENT) -> BenchResult:
    """Times our engine beside onnxruntime, OpenVINO, ncnn and tinygrad; writes bench.json and bench.png.

    Args:
        config: of the job.
        on: receives progress, and which runtimes are left out.

    Raises:
        FaceletError: the model, a runtime or the folder cannot be used.
    """
    from facelet.atomic import check_folder, write_text_atomic
    from facelet.bench.contenders import available
    from facelet.bench.measure import measure
    from facelet.bench.onnx_file import as_onnx
    from facelet.bench.plot import plot_rows
    from facelet.evaluate.png import NO_PLOTS, can_plot
    from facelet.model_files import load_model

    check_config(config)
    check_folder(config.out)
    if nameless := next((name for name in config.backends if name.endswith("=")), None):
        raise OptionError(f"`backends` {nameless}: names no file; give {nameless}FILE, or leave the = out")
    found = load_model(config.model)
    path = as_onnx(found.path, config.out)
    named = list(config.backends) or available(on.note)
    shape = (3, found.card.height, found.card.width)
    result = BenchResult(found.card.name, found.sha256, machine(), [])
    for n_threads in config.threads or (1,):
        for n_images in config.batches or (1,):
            with on.progress(f"{found.card.name}, {n_threads} thread(s), batch {n_images}") as advance:
                result.rows.extend(
                    measure(
                        path,
                        shape,
                        named,
                        n_threads,
                        n_images,
                        blocks=config.blocks,
                        on_block=advance,
                        on_failure=None if config.backends else on.note,
                    )
                )

    def write() -> None:
        write_text_atomic(config.out / "bench.json", json.dumps(result.to_dict(), indent=1) + "\n")

    write()  # the rows are kept even where the layers fail
    written = [config.out / "bench.json"]
    if can_plot():
        written.append(config.out / "bench.png")
        plot_rows(result.rows, found.card.name, written[-1])
    else:
        on.note(NO_PLOTS)
    if config.layers is not None:
        from facelet.bench.layers import layer_times

        with on.progress("layers"):
            result.layers.extend(layer_times(path, config.layers, n_threads) for n_threads in config.threads or (1,))
        write()
    on.note(f"written: {', '.join(map(str, written))}")
    return result


def machine() -> str:
    """The processor, its cores, and the system that a time depends on."""
    import os
    import platform

    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
