"""Runs the contenders in turns, block by block, and makes one row of each.

The blocks are interleaved so that a machine that slows down or is shared slows all of them alike; a pause before
each block lets the thread pool of the one before fall asleep. A row's time is the median over all runs.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from facelet.bench.contenders import last_words, variables
from facelet.cache import CACHE_VARIABLE
from facelet.errors import ModelError
from facelet.processes import cache_places, python_command, start

BASELINE = "onnxruntime"
BLOCK_S = 0.25
"""About the length of a block."""
PAUSE_S = 0.15
"""Between blocks, until idle pools stop spinning."""
TOLERANCE = 0.1
"""Largest distance of a contender's embedding from the baseline's; relative; bfloat16 stays below it."""
INT8_TOLERANCE = 1.0
"""The same of integers, which onnxruntime's own tool calibrates on noise here."""


@dataclass(frozen=True)
class Row:
    """What one runtime took.

    Attributes:
        backend: name in `CONTENDERS`, or "opencl:DEVICE"; "NAME=FILE" where it ran another file.
        threads: CPU threads.
        batch: images at once.
        median_ms: of one run of the whole batch.
        min_ms: the fastest run.
        runs: how many were counted.
        ratio_to_onnxruntime: onnxruntime's median over this one's; above 1 is faster.
        error: largest difference of the first embedding from onnxruntime's, relative to its largest number.
        peak_bytes: largest resident memory of the process.
        start_cold_s: from an empty cache to the first embedding, Python's own start included.
        start_warm_s: the same with what the first start cached.
    """

    backend: str
    threads: int
    batch: int
    median_ms: float
    min_ms: float
    runs: int
    ratio_to_onnxruntime: float
    error: float
    peak_bytes: int
    start_cold_s: float
    start_warm_s: float


class _Worker:
    """One runtime's process."""

    def __init__(self, backend: str, task: dict[str, Any], cache: Path) -> None:
        self.backend = backend
        name, _, file = backend.partition("=")
        task = {**task, "backend": name, "model": file or task["model"]}
        begun = time.perf_counter()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self._process = start(
            python_command("facelet.bench.worker", json.dumps(task)),
            self._log,
            variables={**variables(name, task["threads"]), CACHE_VARIABLE: str(cache), **cache_places(cache)},
        )
        try:
            first = self._hear()
        except ModelError:
            self.close()
            raise
        self.start_s = time.perf_counter() - begun
        self.embedding = np.array(first["embedding"])
        self.runs = 0
        self.times: list[float] = []
        self.peak_bytes = 0

    def block(self, runs: int, *, counted: bool = True) -> float:
        """Runs `runs` times; returns the median in milliseconds.

        Raises:
            ModelError: the process has ended.
        """
        stdin: IO[str] = self._process.stdin  # type: ignore[assignment]
        with contextlib.suppress(OSError):  # a process that has ended: its log says why
            stdin.write(f"{runs}\n")
            stdin.flush()
        heard = self._hear()
        if counted:
            self.times += heard["ms"]
        self.peak_bytes = heard["peak_bytes"]
        return float(np.median(heard["ms"]))

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(OSError):  # what the process did not read before it ended
                    stream.close()

    def _hear(self) -> dict[str, Any]:
        stdout: IO[str] = self._process.stdout  # type: ignore[assignment]
        for line in stdout:
            if line.startswith("{") and line.endswith("\n"):  # a runtime may greet there, or end within a line
                heard: dict[str, Any] = json.loads(line)
                return heard
        self._log.seek(0)
        raise ModelError(f"bench {self.backend}: the runtime failed ({last_words(self._log)})")


def measure(
    model: Path,
    shape: tuple[int, int, int],
    backends: Sequence[str],
    threads: int,
    batch: int,
    *,
    blocks: int = 12,
    on_block: Callable[[int, int, str], None] | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> list[Row]:
    """Measures backends side by side on one network; `onnxruntime` is always among them.

    Args:
        shape: of one input, (3, height, width).
        backends: names; "NAME=FILE" runs another file of the same network, such as its int8 form.
        blocks: turns of each backend after the warm-up.
        on_block: told (turns done, turns in all, backend).
        on_failure: told why a runtime is left out, from the start or from where it failed; without it the first
            failure ends the measurement.

    Raises:
        ModelError: a runtime fails, or gives another embedding than onnxruntime; with `on_failure`, onnxruntime fails.
    """
    named = dict.fromkeys((BASELINE, *backends))
    task = {"model": str(model), "shape": shape, "threads": threads, "batch": batch}
    workers: list[_Worker] = []
    cold: dict[str, float] = {}

    @contextlib.contextmanager
    def left_out_if_it_fails(name: str) -> Iterator[None]:
        try:
            yield
        except ModelError as error:
            if on_failure is None or name == BASELINE:
                raise
            for worker in [worker for worker in workers if worker.backend == name]:
                workers.remove(worker)
                worker.close()
            on_failure(str(error))

    with tempfile.TemporaryDirectory(prefix="facelet-bench-") as folder:
        cache = Path(folder)
        try:
            for name in named:
                with left_out_if_it_fails(name):
                    worker = _Worker(name, task, cache)
                    cold[name] = worker.start_s
                    worker.close()
                    workers.append(_Worker(name, task, cache))
                    _check(workers[-1], workers[0])
            for worker in list(workers):
                with left_out_if_it_fails(worker.backend):
                    worker.runs = max(3, int(1000 * BLOCK_S / worker.block(3, counted=False)))
            for turn in range(blocks):
                running = list(workers)
                for position, worker in enumerate(running, start=1):
                    time.sleep(PAUSE_S)
                    with left_out_if_it_fails(worker.backend):
                        worker.block(max(1, worker.runs // 10), counted=False)
                        worker.block(worker.runs)
                    if on_block is not None:
                        on_block(turn * len(running) + position, blocks * len(running), worker.backend)
            return [_row(worker, workers[0], threads, batch, cold[worker.backend]) for worker in workers]
        finally:
            for worker in workers:
                worker.close()


def _error(worker: _Worker, baseline: _Worker) -> float:
    return float(np.abs(worker.embedding - baseline.embedding).max() / np.abs(baseline.embedding).max())


def _check(worker: _Worker, baseline: _Worker) -> None:
    tolerance = INT8_TOLERANCE if "=" in worker.backend or "int8" in worker.backend else TOLERANCE
    if worker.embedding.shape != baseline.embedding.shape or not _error(worker, baseline) < tolerance:
        raise ModelError(f"bench {worker.backend}: its output is not onnxruntime's; a time of it means nothing")


def _row(worker: _Worker, baseline: _Worker, threads: int, batch: int, cold_s: float) -> Row:
    median = float(np.median(worker.times))
    return Row(
        backend=worker.backend,
        threads=threads,
        batch=batch,
        median_ms=median,
        min_ms=float(np.min(worker.times)),
        runs=len(worker.times),
        ratio_to_onnxruntime=float(np.median(baseline.times)) / median,
        error=_error(worker, baseline),
        peak_bytes=worker.peak_bytes,
        start_cold_s=cold_s,
        start_warm_s=worker.start_s,
    )
