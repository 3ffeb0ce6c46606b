"""One runtime in a process of its own: loads a network, then runs it in blocks when it is told to.

    python -m facelet.bench.worker '{"backend": "onnxruntime", "model": "x.onnx", "threads": 1, "batch": 1}'

Each line on standard input is a number of runs; each line on standard output is a JSON object: first what the
start took, then the milliseconds of each run. A process per runtime keeps thread pools, memory figures and
environment variables apart, and one that waits for its turn takes no processor time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from facelet.bench.contenders import load_network


def main(text: str) -> None:
    """Serves one runtime until standard input ends."""
    begun = time.perf_counter()
    task: dict[str, Any] = json.loads(text)
    cores = sorted(os.sched_getaffinity(0))[-task["threads"] :]  # the last ones: the system favours the first
    os.sched_setaffinity(0, cores)
    # in the range of pixels: int8 clips what is beyond, and its output is compared
    planes = np.random.default_rng(0).uniform(-1, 1, (task["batch"], *task["shape"])).astype(np.float32)
    run = load_network(task["backend"], Path(task["model"]), task["threads"], task["batch"])
    first = run(planes)
    _say(
        {
            "start_s": time.perf_counter() - begun,
            "embedding": np.asarray(first, np.float64).reshape(task["batch"], -1)[0].tolist(),
        }
    )
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            clock = time.perf_counter()
            run(planes)
            times.append(1000 * (time.perf_counter() - clock))
        _say({"ms": times, "peak_bytes": _peak_bytes()})


def _peak_bytes() -> int:
    """The most resident memory that this program had; `getrusage` would count what its parent had when it forked."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
