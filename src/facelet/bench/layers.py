"""Each layer of our engine against the roofline of the machine, which is measured first.

    python -m facelet.bench.layers '{"model": "x.onnx", "device": "pocl", "threads": 1}'

The roofline has two numbers: what the device multiplies and adds per second when nothing is loaded, and what it
copies per second from and to main memory. A layer could take no less than its operations by the first, or its
traffic by the second. In a process of its own, as threads of OpenCL hold for a process.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 2009.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from facelet.bench.contenders import environment
from facelet.errors import ModelError
from facelet.graph.onnx_io import read_graph
from facelet.graph.passes import optimise
from facelet.graph.size import layers
from facelet.opencl import render
from facelet.opencl.check import open_session
from facelet.opencl.lower import lower
from facelet.opencl.program import Launch, Program
from facelet.opencl.runner import tuning_for
from facelet.opencl.runtime import Device, open_device

SUMS, TURNS = 12, 200_000
COPIED_FLOATS = 2**24


def layer_times(model: Path, device: str, threads: int) -> dict[str, Any]:
    """The roofline and one row per layer, measured in a process of its own.

    Raises:
        ModelError: the measurement failed; the message holds its last line.
    """
    task = json.dumps({"model": str(model), "device": device, "threads": threads})
    done = subprocess.run(
        [sys.executable, "-m", "facelet.bench.layers", task],
        env={**os.environ, **environment(f"opencl:{device}", threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ModelError(f"bench layers of {model}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _program(body: str, arena: int, size: int, device: Device) -> Program:
    """A program of one kernel."""
    kernel = render.kernel("roof", body)
    launch = Launch(kernel.name, (0,) * 6, (size, 1), "roofline")
    tuning = tuning_for(device)
    text = render.source([kernel], [launch], tuning)
    return Program("roofline", text, (launch,), np.zeros(16, np.float32), arena, arena, (), (), tuning)


def roofline(device: Device, threads: int) -> dict[str, float]:
    """GFLOP/s of multiplications and additions in registers, and GB/s of a copy of 64 MB."""
    sums = "".join(f"fr a{i} = SPLAT(0.{i + 1}f);\n" for i in range(SUMS))
    grow = " ".join(f"a{i} = a{i} * m + p;" for i in range(SUMS))
    total = " + ".join(f"a{i}" for i in range(SUMS))
    body = f"const fr m = SPLAT(0.999f), p = SPLAT(0.001f);\n{sums}for (int i = 0; i < {TURNS}; i++) {{ {grow} }}\n"
    body += f"ST(A + ID0 * V, {total});\n"
    compute = device.load(_program(body, 1024, threads, device))
    flops = 2 * SUMS * TURNS * device.vector * threads
    part = COPIED_FLOATS // (4 * threads)
    copy = f"""__global float *p = A + ID0 * {part};
for (int i = 0; i < {part}; i += V) ST(p + {COPIED_FLOATS} + i, LD(p + i));
"""
    memory = device.load(_program(copy, 2 * COPIED_FLOATS, 4 * threads, device))
    moved = 2 * 4 * COPIED_FLOATS
    return {
        "gflops": flops / min(compute.launch_ms()) / 1e6,
        "gbs": moved / min(memory.launch_ms()) / 1e6,
    }


def main(text: str) -> None:
    """Prints the measurement as JSON."""
    task = json.loads(text)
    threads = int(task["threads"])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    device = open_device(task["device"], threads)
    graph = optimise(read_graph(Path(task["model"])))
    tuning = tuning_for(device)
    open_session(graph, device, tuning)  # checked before it is timed
    program = lower(graph, tuning)
    session = device.load(program)
    session.run({entry.name: np.zeros(entry.shape, np.float32) for entry in program.inputs})
    roof = roofline(device, threads)
    traffic = {str(node): row.traffic_bytes for node, row in zip(graph.nodes, layers(graph), strict=True)}
    rows = []
    for launch, took in zip(program.launches, session.launch_ms(50), strict=True):
        least = max(2 * launch.macs / roof["gflops"], traffic.get(launch.node, 0) / roof["gbs"]) / 1e6
        rows.append(
            {"layer": launch.node, "ms": took, "gflops": 2 * launch.macs / took / 1e6, "of_roofline": least / took}
        )
    sys.stdout.write(json.dumps({"device": device.name, "threads": threads, "roofline": roof, "layers": rows}))


if __name__ == "__main__":
    main(sys.argv[1])
