"""What runs a model's network: each backend makes a `Runner`, which maps crops to raw embeddings.

`BACKENDS` names them. A runner checks the network against the card when it is made, so a file that does not
fit is refused before the first crop. Normalising and batching are the embedder's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from facelet.errors import FaceletError, InputError, MissingExtraError, ModelError, UnknownNameError
from facelet.model import Card, Model
from facelet.onnx_session import open_session

if TYPE_CHECKING:
    from facelet.graph.ir import Graph


class Runner(Protocol):
    """Maps crops `(n, height, width, 3)` uint8 RGB to raw embeddings `(n, ...)` float32, n at least 1."""

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Runs the network on one batch."""


def network_input(crops: NDArray[np.uint8], card: Card) -> NDArray[np.float32]:
    """The tensor that a network eats: channel order, mean and scale of its card.

    Args:
        crops: `(n, h, w, 3)` uint8 RGB.

    Returns:
        `(n, 3, h, w)` float32, contiguous; `(pixel - mean) * scale` per channel.
    """
    channels = crops if card.color == "rgb" else crops[..., ::-1]
    planes = channels.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    if any(card.mean):
        planes -= np.asarray(card.mean, np.float32).reshape(3, 1, 1)
    if card.scale != (1.0, 1.0, 1.0):
        planes *= np.asarray(card.scale, np.float32).reshape(3, 1, 1)
    return planes


def check_shapes(
    where: str, card: Card, input_shape: list[Any], output_shape: list[Any], outputs: Collection[str] = ()
) -> int | None:
    """Compares a network's declared shapes with its card.

    Args:
        where: file name for the error message.
        input_shape: per dimension an int, or anything else where it is open.
        output_shape: the same for the embedding.
        outputs: names of all outputs, for the error message.

    Returns:
        The fixed batch size, or None where the batch is open.

    Raises:
        ModelError: input or output does not fit the card.
    """
    expected = [None, 3, card.height, card.width]
    fits = len(input_shape) == 4 and all(
        not isinstance(found, int) or wanted is None or found == wanted
        for found, wanted in zip(input_shape, expected, strict=True)
    )
    if not fits:
        raise ModelError(
            f"{where}: the network's input is {_shape(input_shape)}, the card of {card.name} says "
            f"{_shape(['n', 3, card.height, card.width])} (height {card.height}, width {card.width}); mend the card"
        )
    batch = input_shape[0] if isinstance(input_shape[0], int) and input_shape[0] > 0 else None
    if output_shape and all(isinstance(size, int) for size in output_shape[1:]):
        size = int(np.prod(output_shape[1:]))
        if size != card.embedding_size and len(outputs) > 1:
            raise ModelError(
                f"{where}: the output '{card.output_name or next(iter(outputs))}' has {size} numbers, the card of "
                f"{card.name} says {card.embedding_size}; name the embedding in the card's output_name, of: "
                f"{', '.join(outputs)}"
            )
        if size != card.embedding_size:
            raise ModelError(
                f"{where}: the network's embedding has {size} numbers, the card of {card.name} says "
                f"{card.embedding_size}; mend the card's embedding_size"
            )
    return batch


def run_fixed(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]], planes: NDArray[np.float32], batch: int
) -> NDArray[np.float32]:
    """Runs a network of fixed batch size on any number of inputs; the last batch is filled up and cut.

    Args:
        planes: `(n, 3, h, w)` float32.
    """
    rows = []
    for start in range(0, len(planes), batch):
        part = planes[start : start + batch]
        filled = np.resize(part, (batch, *part.shape[1:])) if len(part) < batch else part
        rows.append(run(filled)[: len(part)])
    return np.concatenate(rows)


def onnxruntime_runner(model: Model, threads: int | None) -> Runner:
    """Runs a `.onnx` file with onnxruntime on the CPU.

    Raises:
        ModelError: onnxruntime refuses the file, or the network does not fit the card.
    """
    from facelet.onnx_entry import FLOAT_TYPES, takes_pixels, with_output

    if model.path.suffix != ".onnx":
        raise InputError(f"{model.path}: the backend onnxruntime reads .onnx files only; leave the backend out")
    try:
        session = open_session(with_output(model) or str(model.path), threads)
    except FaceletError:
        raise
    except Exception as error:  # onnxruntime's own exceptions share no public parent
        raise ModelError(f"{model.path}: onnxruntime refuses it ({_reason(error)})") from error
    if len(session.get_inputs()) != 1:
        raise ModelError(f"{model.path}: the network has {len(session.get_inputs())} inputs; an embedder has one")
    entry, outputs = session.get_inputs()[0], {found.name: found for found in session.get_outputs()}
    exit_ = outputs[model.card.output_name or next(iter(outputs))]
    if entry.type not in FLOAT_TYPES:
        raise ModelError(f"{model.path}: the network's input is a {entry.type}; expected float32")
    turned, kind = takes_pixels(model, entry.shape), FLOAT_TYPES[entry.type]
    shape = [entry.shape[axis] for axis in (0, 3, 1, 2)] if turned else entry.shape
    batch = check_shapes(str(model.path), model.card, shape, exit_.shape, outputs)

    def once(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        fed = (planes.transpose(0, 2, 3, 1) if turned else planes).astype(kind, order="C", copy=False)
        try:
            return np.asarray(session.run([exit_.name], {entry.name: fed})[0], np.float32)
        except Exception as error:
            raise ModelError(f"{model.path}: onnxruntime cannot run it ({_reason(error)})") from error

    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes = network_input(crops, model.card)
        return once(planes) if batch is None else run_fixed(once, planes, batch)

    return run


def openvino_runner(model: Model, threads: int | None) -> Runner:
    """Runs an IR (`.xml` with its `.bin`) or a `.onnx` file with OpenVINO on the CPU, the batch opened if it can be.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelError: OpenVINO refuses the file or would not compute what it says, or the network does not fit the card.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error

    card = model.card
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT" if threads is None else "LATENCY"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"
    settings["ENABLE_CPU_PINNING"] = False  # pinned, two processes share one core and leave the other idle
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    _check_ir(model.path)
    core = openvino.Core()
    try:
        network = core.read_model(str(model.path))
    except RuntimeError as error:
        raise ModelError(f"{model.path}: OpenVINO refuses it ({_reason(error)})") from error
    if len(network.inputs) != 1:
        raise ModelError(f"{model.path}: the network has {len(network.inputs)} inputs; an embedder has one")
    if model.path.suffix == ".onnx" and any(op.get_type_name() == "FakeQuantize" for op in network.get_ops()):
        raise ModelError(
            f"{model.path}: is int8, which OpenVINO rounds otherwise than the file says; take the backend "
            "onnxruntime or opencl, which compute it exactly"
        )
    names = [next(iter(port.get_names()), "") for port in network.outputs]
    if card.output_name and card.output_name not in names:
        raise ModelError(f"{model.path}: OpenVINO finds no output '{card.output_name}'; there are {', '.join(names)}")
    position = names.index(card.output_name) if card.output_name else 0
    entry, exit_ = _openvino_shape(network.inputs[0]), _openvino_shape(network.outputs[position])
    if len(entry) == 4 and entry[3] == 3 != entry[1]:
        raise ModelError(
            f"{model.path}: takes images as height x width x channels; take the backend onnxruntime or opencl"
        )
    batch = check_shapes(str(model.path), card, entry, exit_, names)
    if batch is not None and _open_batch(network, card, position):
        batch = None
    elif batch is not None:
        network = core.read_model(str(model.path))
    try:
        compiled = core.compile_model(network, "CPU", settings)
    except RuntimeError as error:
        raise ModelError(f"{model.path}: OpenVINO cannot compile it ({_reason(error)})") from error

    own = threading.local()  # a request holds the tensors of one run; threads that shared one would swap answers

    def once(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            return np.array(own.request.infer(planes, share_inputs=True)[position], np.float32)
        except RuntimeError as error:
            raise ModelError(f"{model.path}: OpenVINO cannot run it ({_reason(error)})") from error

    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes = network_input(crops, card)
        return once(planes) if batch is None else run_fixed(once, planes, batch)

    return run


def dlib_runner(model: Model, threads: int | None) -> Runner:
    """Runs dlib's face recognition ResNet; it eats pixels and normalises by itself. `threads` does not apply.

    Raises:
        ModelError: dlib refuses the file, or the card is not that of this net.
    """
    import dlib

    if model.path.suffix != ".dat":
        raise InputError(f"{model.path}: the backend dlib reads its own .dat files only; leave the backend out")
    card = model.card
    if (card.height, card.width, card.embedding_size, card.color) != (150, 150, 128, "rgb"):
        raise ModelError(f"{model.path}: dlib's ResNet eats 150x150 RGB and gives 128 numbers; mend the card")
    try:
        net = dlib.face_recognition_model_v1(str(model.path))
    except RuntimeError as error:
        raise ModelError(f"{model.path}: dlib refuses it ({_reason(error)})") from error

    turn = threading.Lock()  # the net keeps the activations of one run

    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        chips = [np.ascontiguousarray(crop) for crop in crops]
        with turn:
            return np.asarray(net.compute_face_descriptor(chips), np.float32)

    return run


def opencl_runner(model: Model, threads: int | None) -> Runner:
    """Runs a `.onnx` file with this package's own engine on an OpenCL device, checked against NumPy when first met.

    Raises:
        MissingExtraError: pyopencl is not installed.
        GraphError: the file holds an op that the engine does not know.
        DeviceError: there is no device, or one that computes wrongly or hangs.
        ModelError: the network does not fit the card.
    """
    from facelet.graph.passes import optimise
    from facelet.model_graph import model_graph
    from facelet.opencl.runner import load_network

    if model.path.suffix != ".onnx":
        raise InputError(f"{model.path}: the backend opencl reads .onnx files only; leave the backend out")
    graph = model_graph(model)
    if len(graph.inputs) != 1:
        raise ModelError(f"{model.path}: the network has {len(graph.inputs)} inputs; an embedder has one")
    check_shapes(
        str(model.path),
        model.card,
        list(graph.shapes[graph.inputs[0]]),
        list(graph.shapes[graph.outputs[0]]),
        graph.outputs,
    )
    network = load_network(optimise(graph), None, threads)
    return lambda crops: network(network_input(crops, model.card))


def run_graph(graph: Graph, planes: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
    """The first output of a graph by onnxruntime, batch by batch, so that what it computes stays in the cache.

    An int8 graph is run on floats, which hold its integers: the same numbers, in two thirds of the time.

    Args:
        graph: one input.
        planes: `(n, c, h, w)` float32, n any number.
        threads: CPU threads.
    """
    from facelet.graph.onnx_io import write_graph

    session = open_session(write_graph(graph).SerializeToString(), threads, integers=False)
    return run_fixed(
        lambda part: np.asarray(session.run(graph.outputs[:1], {graph.inputs[0]: part})[0]), planes, graph.batch
    )


BACKENDS: dict[str, Callable[[Model, int | None], Runner]] = {
    "onnxruntime": onnxruntime_runner,
    "opencl": opencl_runner,
    "openvino": openvino_runner,
    "dlib": dlib_runner,
}

DEFAULT_BACKENDS: dict[str, str] = {".onnx": "onnxruntime", ".xml": "openvino", ".dat": "dlib"}


def check_backend(name: str | None) -> None:
    """Refuses a backend that is none; None leaves the choice to the model's file.

    Raises:
        UnknownNameError: no such backend.
    """
    if name is not None and name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)


def _check_ir(path: Path) -> None:
    """Refuses an `.xml` that is no IR, on which OpenVINO would try its other readers, each with its own complaints.

    Raises:
        ModelError: the file is no IR.
    """
    if path.suffix != ".xml":
        return
    try:
        with path.open("rb") as file:
            _, root = next(ElementTree.iterparse(file, events=("start",)))
    except (ElementTree.ParseError, StopIteration, OSError) as error:
        raise ModelError(f"{path}: not an OpenVINO IR (no readable XML); copy or convert it again") from error
    if root.tag != "net" or "version" not in root.attrib:
        raise ModelError(f"{path}: not an OpenVINO IR (no <net version=...>); copy or convert it again")


def _open_batch(network: Any, card: Card, position: int) -> bool:
    """Gives an OpenVINO network an open batch; False, the network spoiled, where a Reshape inside fixes the batch."""
    try:
        network.reshape([-1, 3, card.height, card.width])
    except RuntimeError:
        return False
    shape = _openvino_shape(network.outputs[position])
    return shape[:1] == [None] and None not in shape[1:] and int(np.prod(shape[1:])) == card.embedding_size


def _openvino_shape(port: Any) -> list[Any]:
    """Per dimension an int, or None where it is open."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return []
    return [None if size.is_dynamic else size.get_length() for size in shape]


def _shape(sizes: list[Any]) -> str:
    return "x".join(str(size) if size is not None else "?" for size in sizes)


def _reason(error: BaseException) -> str:
    """What a runtime says, on one line, without the places in its own source that come before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[0][:200]
