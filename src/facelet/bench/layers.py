"""Each layer of our engine against the roofline of the machine, which is measured first.

    python -m facelet.bench.layers '{"model": "x.onnx", "device": "pocl", "threads": 1}'

The roofline has two numbers: what the device multiplies and adds per second when nothing is loaded, and what it
copies per second from and to main memory. A layer could take no less than its operations by the first, or its
traffic by the second; a layer whose data stay in the cache may beat the second. In a process of its own, as threads
of OpenCL hold for a process.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 2009.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from facelet.bench.contenders import last_words, variables
from facelet.errors import ModelError
from facelet.graph.ops import node_macs
from facelet.graph.passes import optimise
from facelet.graph.size import layers
from facelet.model_graph import file_graph
from facelet.opencl.lower import lower
from facelet.opencl.runtime import OpenCLRuntime
from facelet.opencl.session import Session, device_config
from facelet.processes import python_command, run

SUMS, TURNS = 12, 200_000
COPIED_FLOATS = 2**24
REPEATS = 20

ROOF = """
typedef float fr __attribute__((ext_vector_type(BLOCK)));
__attribute__((reqd_work_group_size(1, 1, 1))) __kernel void compute(__global float *a)
{
    const fr m = (fr)(0.999f), p = (fr)(0.001f);
    STARTS
    for (int i = 0; i < TURNS; i++) { GROWS }
    *(__global fr *)(a + get_global_id(0) * BLOCK) = TOTAL;
}
__attribute__((reqd_work_group_size(1, 1, 1))) __kernel void copy(__global float *a)
{
    __global float *p = a + get_global_id(0) * PART;
    for (int i = 0; i < PART; i += BLOCK) *(__global fr *)(p + COPIED + i) = *(__global fr *)(p + i);
}
"""


def layer_times(model: Path, device: str, threads: int) -> dict[str, Any]:
    """The roofline and one row per layer, measured in a process of its own.

    Raises:
        ModelError: the measurement failed; the message holds its last line.
    """
    task = json.dumps({"model": str(model), "device": device, "threads": threads})
    done = run(python_command("facelet.bench.layers", task), variables=variables(f"opencl:{device}", threads))
    if done.returncode:
        raise ModelError(f"bench layers of {model}: {last_words(done.stderr.splitlines())}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def roofline(runtime: OpenCLRuntime) -> dict[str, float]:
    """GFLOP/s of multiplications and additions in registers, and GB/s read and written by a copy of 64 MB."""
    block, threads = runtime.device.config.block, runtime.threads
    pieces = 4 * threads
    part = COPIED_FLOATS // pieces // block * block  # whole vectors, whatever the number of threads
    copied = part * pieces
    macros = {
        "BLOCK": block,
        "TURNS": TURNS,
        "COPIED": copied,
        "PART": part,
        "STARTS": " ".join(f"fr a{i} = (fr)(0.{i + 1}f);" for i in range(SUMS)),
        "GROWS": " ".join(f"a{i} = a{i} * m + p;" for i in range(SUMS)),
        "TOTAL": " + ".join(f"a{i}" for i in range(SUMS)),
    }
    defines = "\n".join(f"#define {name} {value}" for name, value in macros.items())
    text = f"#pragma OPENCL FP_CONTRACT ON\n{defines}\n{ROOF}"
    compute = runtime.seconds(text, "compute", threads * block, threads, REPEATS)
    copy = runtime.seconds(text, "copy", 2 * copied, pieces, REPEATS)
    return {
        "gflops": 2 * SUMS * TURNS * block * threads / compute / 1e9,
        "gbs": 2 * 4 * copied / copy / 1e9,
    }


def main(text: str) -> None:
    """Prints the measurement as JSON."""
    task = json.loads(text)
    threads = int(task["threads"])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    runtime = OpenCLRuntime(task["device"], threads)
    graph = optimise(file_graph(task["model"])[1])
    program = lower(graph, device_config(runtime.device))
    whole = threads == 1
    Session(program, runtime, whole=whole)  # checked before it is timed
    executable = runtime.load(program, whole=whole)
    took: dict[str, float] = {}
    for step, launch in enumerate(program.launches):
        took[launch.node] = took.get(launch.node, 0.0) + executable.seconds(step, REPEATS)
    roof = roofline(runtime)
    traffic = {str(node): row.traffic_bytes for node, row in zip(graph.nodes, layers(graph), strict=True)}
    macs = {str(node): node_macs(graph, node) for node in graph.nodes}
    rows = []
    for node, seconds in took.items():
        flops = 2 * macs.get(node, 0)
        least = max(flops / roof["gflops"], traffic.get(node, 0) / roof["gbs"]) / 1e9
        rows.append(
            {"layer": node, "ms": 1000 * seconds, "gflops": flops / seconds / 1e9, "of_roofline": least / seconds}
        )
    found = {"device": runtime.device.name, "threads": threads, "roofline": roof, "layers": rows}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
