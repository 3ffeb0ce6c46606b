"""The runtimes that are compared: each loads an ONNX file and returns a function from planes to embedding.

Every contender computes in float32 unless its name says otherwise, on as many threads as it is told. Their
packages are optional (extra `bench`); one that is not installed is left out of a comparison, by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelet.errors import MissingExtraError, ModelError, UnknownNameError
from facelet.onnx_session import open_session
from facelet.opencl.runtime import THREAD_VARIABLES
from facelet.processes import run

Array = NDArray[np.float32]
Network = Callable[[Array], Array]
"""`(batch, 3, h, w)` float32 in, the first output out."""


@dataclass(frozen=True)
class Contender:
    """A runtime.

    Attributes:
        packages: what must be importable.
        load: makes the network of an ONNX file at a batch size and a number of threads.
    """

    packages: tuple[str, ...]
    load: Callable[[Path, int, int], Network]

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that are not installed."""
        return tuple(name for name in self.packages if importlib.util.find_spec(name) is None)


def _onnxruntime(path: Path, threads: int, batch: int) -> Network:
    session = open_session(str(path), threads)
    name = session.get_inputs()[0].name
    return lambda planes: np.asarray(session.run(None, {name: planes})[0])


def _openvino(precision: str) -> Callable[[Path, int, int], Network]:
    def load(path: Path, threads: int, batch: int) -> Network:
        import openvino

        core = openvino.Core()
        network = core.read_model(str(path))
        shape = network.inputs[0].get_partial_shape()
        network.reshape([batch, *(shape[i].get_length() for i in range(1, 4))])
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        request = core.compile_model(network, "CPU", settings).create_infer_request()
        return lambda planes: np.array(request.infer([planes])[0])

    return load


def _ncnn(path: Path, threads: int, batch: int) -> Network:
    """Ncnn has no batch: the images go through one after another. `pnnx` makes its files from the ONNX file."""
    import ncnn

    _, shape = _input(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        copy.write_bytes(path.read_bytes())
        size = ",".join(str(side) for side in (1, *shape[1:]))
        made = run([str(Path(sys.executable).with_name("pnnx")), copy.name, f"inputshape=[{size}]"], cwd=folder)
        if made.returncode or not (Path(folder) / "model.ncnn.param").exists():
            raise ModelError(f"{path}: pnnx cannot convert it for ncnn")
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
        net.load_param(str(Path(folder) / "model.ncnn.param"))
        net.load_model(str(Path(folder) / "model.ncnn.bin"))

    def one(image: Array) -> Array:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        return np.array(extractor.extract("out0")[1])

    return lambda planes: np.stack([one(image) for image in planes])


def _tinygrad(path: Path, threads: int, batch: int) -> Network:
    """Tinygrad compiles its own kernels for the system's first OpenCL device; threads are the device's."""
    tinygrad: Any = importlib.import_module("tinygrad")
    OnnxRunner: Any = importlib.import_module("tinygrad.nn.onnx").OnnxRunner  # noqa: N806 - a class

    runner = OnnxRunner(str(path))
    name = next(iter(runner.graph_inputs))
    step = tinygrad.TinyJit(lambda x: next(iter(runner({name: x}).values())).realize())
    return lambda planes: np.asarray(step(tinygrad.Tensor(planes).realize()).numpy())


def _onnxruntime_int8(path: Path, threads: int, batch: int) -> Network:
    """What onnxruntime's own tool makes of the file: int8 weights per channel, uint8 tensors, calibrated on noise."""
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    inference = importlib.import_module("onnxruntime.quantization.shape_inference")
    name, sides = _input(path)
    shape = [side if isinstance(side, int) else 1 for side in sides]
    rng = np.random.default_rng(0)

    class Noise(quantization.CalibrationDataReader):  # type: ignore[misc]
        """A few images of noise; only the time of the result matters here."""

        def __init__(self) -> None:
            self.left = 4

        def get_next(self) -> dict[str, Array] | None:
            self.left -= 1
            return {name: rng.uniform(-1, 1, shape).astype(np.float32)} if self.left >= 0 else None

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "int8.onnx"
        inference.quant_pre_process(str(path), str(before), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(before),
            str(after),
            Noise(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
        return _onnxruntime(after, threads, batch)


def _input(path: Path) -> tuple[str, list[Any]]:
    """Name and shape of a file's input; open dimensions are text."""
    entry = open_session(str(path)).get_inputs()[0]
    return entry.name, entry.shape


CONTENDERS: dict[str, Contender] = {
    "onnxruntime": Contender(("onnxruntime",), _onnxruntime),
    "onnxruntime:int8": Contender(("onnxruntime", "sympy"), _onnxruntime_int8),
    "openvino": Contender(("openvino",), _openvino("f32")),
    "openvino:bf16": Contender(("openvino",), _openvino("bf16")),
    "ncnn": Contender(("ncnn", "pnnx"), _ncnn),
    "tinygrad:opencl": Contender(("tinygrad", "pyopencl"), _tinygrad),
}
"""Runtimes by name; those of our own engine, `opencl:DEVICE`, are added per device (see `measure`)."""


def available(tell: Callable[[str], None]) -> list[str]:
    """All runtimes that are installed, our engine on every OpenCL device among them.

    Args:
        tell: is told which are left out, and why.
    """
    found = []
    for name, contender in CONTENDERS.items():
        if contender.missing:
            tell(f"{name}: left out, {' and '.join(contender.missing)} not installed (pip install 'facelet[bench]')")
        else:
            found.append(name)
    try:
        from facelet.opencl.runtime import find_devices

        found += [f"opencl:{device.name}" for device in find_devices()]
    except MissingExtraError as error:
        tell(f"opencl: left out, {error}")
    return found


def variables(backend: str, threads: int) -> dict[str, str]:
    """Environment variables that a backend's process starts with; OpenCL runtimes read their thread count there."""
    found = {"OMP_NUM_THREADS": str(threads)}
    if backend.startswith(("opencl:", "tinygrad:")):
        found |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    if backend == "tinygrad:opencl":
        found["DEV"] = "CL"
    return found


def last_words(said: Iterable[str]) -> str:
    """What a process that failed said last, without the name of the Python class of its error."""
    lines = [line.strip() for line in said if line.strip()]
    return re.sub(r"^(\w+\.)+\w+: ", "", lines[-1])[:300] if lines else "no message"


def load_network(backend: str, path: Path, threads: int, batch: int) -> Network:
    """Loads a file in one runtime.

    Args:
        backend: key of `CONTENDERS`, or "opencl:DEVICE" with a device of `facelet devices`.

    Raises:
        UnknownNameError: no such runtime.
        MissingExtraError: its packages are not installed.
    """
    if backend.startswith("opencl:"):
        from facelet.graph.passes import optimise
        from facelet.model_graph import file_graph
        from facelet.opencl import runner

        return runner.load_network(optimise(file_graph(path)[1]), backend.removeprefix("opencl:"), threads)
    if backend not in CONTENDERS:
        raise UnknownNameError("backend", backend, [*CONTENDERS, "opencl:DEVICE"])
    contender = CONTENDERS[backend]
    if contender.missing:
        raise MissingExtraError(contender.missing[0], "bench")
    return contender.load(path, threads, batch)
