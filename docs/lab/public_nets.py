"""Tries face nets that others have published: reads, runs, quantizes and exports them, and writes the table of it.

    python docs/lab/public_nets.py FOLDER [--only WORD...] [--calibration 8] [--passes 2]

FOLDER holds the files as OWNER+NAME/PATH, with "+" in place of each "/" of the path. None of them is part of this
repository. Results are kept in public-nets.json beside this file, net by net; the page is written from it.

Each net runs on images of smooth noise, so the figures tell whether the executors agree, not how good a net is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from facelet.atomic import write_text_atomic
from facelet.backends import network_input, run_graph
from facelet.cexport.export import c_texts
from facelet.cexport.layers import read_net
from facelet.errors import FaceletError
from facelet.fpga.boards import BOARDS
from facelet.fpga.explore import explore
from facelet.fpga.schedule import layer_shapes
from facelet.graph import reference
from facelet.graph.int8 import MADE, MOVERS
from facelet.graph.ir import Graph
from facelet.graph.onnx_io import read_graph, write_graph
from facelet.graph.passes import optimise
from facelet.model import Card
from facelet.opencl.lower import lower
from facelet.opencl.runtime import OpenCLRuntime
from facelet.quantize.calibrate import calibrate

HERE = Path(__file__).parent
TOLERANCE = 1e-4
"""Of the largest number of an output."""

SMALL = 1e-2
"""Noise has no face: some probabilities are 1e-5, where onnxruntime's own Sigmoid is 1e-7 from the right number."""

BOARD = "de10-nano"


@dataclass(frozen=True)
class Net:
    """One file.

    Attributes:
        kind: what it does.
        size: of one input, (channels, height, width); None where the file fixes it.
        channels_last: whether the file takes (height, width, channels).
    """

    repository: str
    path: str
    kind: str
    size: tuple[int, int, int] | None = None
    channels_last: bool = False

    @property
    def name(self) -> str:
        """Of its result, and of its file in the folder."""
        return f"{self.repository.replace('/', '+')}/{self.path.replace('/', '+')}"


ULTRA, SEETA = "Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB", "zjd1988/seetaface6_onnx_model"
GHOST, BLAZE = "AnthonyF333/PFLD_GhostOne", "hasimoka/BlazeFace-PyTorch"
NETS = (
    Net("KRISHNASAKTHIESWAR/Crypt-ML", "models/MobileFaceNet.onnx", "recognition"),
    Net("diandianti/photo_analyze", "models/mobilefacenet.onnx", "recognition"),
    *(
        Net(GHOST, f"onnx_models/PFLD_{n}_112_1_opt_sim.onnx", "landmarks")
        for n in ("GhostNet", "GhostNet_Slim", "GhostOne")
    ),
    Net("cunjian/pytorch_face_landmark", "onnx/pfld.onnx", "landmarks"),
    Net("zhaoyk1986/pfld_106_face_landmarks", "output/lite.onnx", "landmarks"),
    Net(SEETA, "models/face_landmarker_mask_pts5.onnx", "landmarks, masks", (3, 128, 128)),
    Net(SEETA, "models/face_landmarker_pts5_net1.onnx", "landmarks"),
    Net(SEETA, "models/face_landmarker_pts5_net2.onnx", "landmarks"),
    Net(SEETA, "models/face_landmarker_pts81_net1.onnx", "landmarks"),
    Net(SEETA, "models/face_landmarker_pts81_net2.onnx", "landmarks"),
    Net(SEETA, "models/pose_estimation.onnx", "head pose", (3, 90, 90)),
    Net(SEETA, "models/gender_predictor.onnx", "gender", (3, 112, 112)),
    Net(SEETA, "models/mask_detector.onnx", "masks", (3, 112, 112)),
    Net(SEETA, "models/eye_state.onnx", "eyes open or closed", (3, 84, 84), True),
    Net(SEETA, "models/quality_lbn.onnx", "quality", (3, 240, 240), True),
    Net(SEETA, "models/face_detector.onnx", "detection", (3, 120, 160)),
    *(Net(ULTRA, f"models/onnx/version-{n}.onnx", "detection") for n in ("RFB-320", "slim-320", "RFB-320_simplified")),
    *(Net(ULTRA, f"models/onnx/version-{n}.onnx", "detection") for n in ("slim-320_simplified",)),
    *(Net(ULTRA, f"models/onnx/version-{n}_without_postprocessing.onnx", "detection") for n in ("RFB-320", "slim-320")),
    Net("diandianti/photo_analyze", "models/version-RFB-320-opt.onnx", "detection"),
    Net("diandianti/photo_analyze", "models/FaceDetector.onnx", "detection"),
    *(Net("yukkki7/FaceAnalysisApp", f"models/scrfd_{n}.onnx", "detection", (3, 160, 160)) for n in ("500m", "2.5g")),
    Net("yukkki7/FaceAnalysisApp", "models/scrfd_500m_bnkps.onnx", "detection"),
    Net("RuDr8A/RealTime-PPE-Compliance", "face_detection_yunet_2026may.onnx", "detection", (3, 160, 160)),
    Net("dominhhieu1019/yolov5-face", "weights/yolov5n-0.5.onnx", "detection"),
    Net(BLAZE, "blazeface.onnx", "detection"),
    Net(BLAZE, "blazefaceback.onnx", "detection"),
    Net("LorenzRutkevich/BlazeONNX", "blazeface.onnx", "detection"),
    *(
        Net("omasaht/headpose-fsanet-pytorch", f"pretrained/fsanet-{n}-iter-688590.onnx", "head pose")
        for n in ("1x1", "var")
    ),
    Net("emilianavt/OpenSeeFace", "models/lm_model0_opt.onnx", "landmarks", (3, 224, 224)),
    Net("emilianavt/OpenSeeFace", "models/mnv3_detection_opt.onnx", "detection", (3, 224, 224)),
    Net("emilianavt/OpenSeeFace", "models/mnv3_gaze32_split_opt.onnx", "gaze", (3, 32, 32)),
    Net("emilianavt/OpenSeeFace", "models/retinaface_640x640_opt.onnx", "detection"),
)


def crops(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """`(n, height, width, 3)` uint8: noise of several octaves, as smooth as a photo."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        total = np.zeros((height, width, 3))
        for cells in (2, 4, 8, 16, 32):
            noise = rng.standard_normal((cells, cells, 3)) / cells**0.7
            total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        low, high = total.min(), total.max()
        made.append((255 * (total - low) / (high - low)).astype(np.uint8))
    return np.stack(made)


def by_onnxruntime(model: bytes, feeds: dict[str, Any], exact: bool = False) -> list[Any]:
    """All outputs of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return list(session.run(None, {name: value for name, value in feeds.items() if name in names}))


def apart(found: Any, wanted: Any) -> float:
    """The largest difference over the largest number, or over `SMALL` where that is smaller."""
    return float(np.abs(found.reshape(-1) - wanted.reshape(-1)).max() / max(np.abs(wanted).max(), SMALL))


class Trial:
    """The steps of one net; each needs those before it."""

    def __init__(self, net: Net, path: Path, n_crops: int, passes: int) -> None:
        self.net, self.path = net, path
        graph = read_graph(path, 1, input_shape=net.size, planes=net.channels_last)
        self.graph = optimise(graph)
        if len(graph.inputs) != 1:
            raise FaceletError(f"has {len(graph.inputs)} inputs")
        shape = graph.shapes[graph.inputs[0]][1:]
        self.card = card_of(shape[1], shape[2]) if len(shape) == 3 and shape[0] == 3 else None
        if self.card is not None:
            self.crops = crops(n_crops, shape[1], shape[2])
            self.planes = network_input(self.crops, self.card)
        else:
            self.planes = np.random.default_rng(0).uniform(-1, 1, (n_crops, *shape)).astype(np.float32)
        self.feeds = {graph.inputs[0]: self.planes[:1]}
        self.quantized, self.passes = self.graph, passes

    def runs(self) -> str:
        """The reference against onnxruntime on the original file."""
        turn = (0, 2, 3, 1) if self.net.channels_last else (0, 1, 2, 3)
        feeds = {name: np.ascontiguousarray(planes.transpose(turn)) for name, planes in self.feeds.items()}
        wanted = by_onnxruntime(self.path.read_bytes(), feeds)
        found = reference.run(self.graph, self.feeds)
        return measured(max(apart(found[n], w) for n, w in zip(self.graph.outputs, wanted, strict=True)))

    def opencl(self) -> str:
        """OpenCL against the reference."""
        return measured(self._on_device(self.graph))

    def quantize(self) -> str:
        """int8, calibrated on the crops."""
        self.quantized = calibrate(
            self.graph, self.planes, lambda g, x: run_graph(g, x, 1), passes=self.passes
        ).quantized
        nodes = self.quantized.nodes
        whole = sum(node.op in (*MADE, *MOVERS) for node in nodes)
        return f"{whole} of {len(nodes)} ops"

    def executors(self) -> str:
        """Whether the reference, onnxruntime on the written file and OpenCL give the same integers."""
        graph = optimise(self.quantized)
        wanted = reference.run(graph, self.feeds)
        found = by_onnxruntime(write_graph(graph).SerializeToString(), self.feeds, exact=True)
        far = max(apart(f, wanted[name]) for name, f in zip(graph.outputs, found, strict=True))
        return measured(max(far, self._on_device(graph)))

    def c99(self) -> str:
        """Every integer of the exported C against the reference; bytes of RAM and flash."""
        if self.card is None:
            raise FaceletError("its input is not an image of three channels")
        graph = optimise(self.quantized)
        net = read_net(graph)
        texts, sizes = c_texts(graph, net, self.card)
        wanted = reference.run(graph, self.feeds, every=True)
        integers = [wanted[name][0].transpose(1, 2, 0).astype(np.int8).tobytes() for name in net.outputs]
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            driver = HERE.parent.parent / "tests" / "c_run_driver.c"
            sources = [driver, *Path(folder).glob("facelet_[nw]*.c")]
            command = ["cc", "-std=c99", "-O1", f"-I{folder}", *map(str, sources), "-o", f"{folder}/run", "-lm"]
            subprocess.run(command, check=True, capture_output=True)
            done = subprocess.run([f"{folder}/run"], input=self.crops[:1].tobytes(), capture_output=True, check=True)
        if done.stdout != b"".join(integers):
            raise FaceletError("DIFFERENT INTEGERS")
        return f"exact; {sizes['ram_bytes'] / 1024:,.0f} KiB RAM, {sizes['constants_bytes'] / 1024:,.0f} KiB flash"

    def fpga(self) -> str:
        """Milliseconds of the fastest engine on a board, estimated."""
        return f"{explore(layer_shapes(optimise(self.quantized)), BOARDS[BOARD]).best.ms:.1f} ms"

    def _on_device(self, graph: Graph) -> float:
        executable = OpenCLRuntime("pocl", 1).load(lower(graph), whole=True)
        found, wanted = executable.run(self.feeds), reference.run(graph, self.feeds)
        return max(apart(found[name], wanted[name]) for name in graph.outputs)


def card_of(height: int, width: int) -> Card:
    """A card of a net that has none: pixels in [-1, 1]."""
    return Card(name="net", height=height, width=width, template="arcface", embedding_size=1, normalized=False)


def measured(far: float) -> str:
    """A difference in words.

    Raises:
        FaceletError: it is larger than the tolerance.
    """
    if not far <= TOLERANCE:
        raise FaceletError(f"DIFFERENT: off by {far:.1e}")
    return "equal" if far == 0 else f"{far:.0e}"


STEPS: dict[str, Callable[[Trial], str]] = {
    "reference": Trial.runs,
    "OpenCL": Trial.opencl,
    "int8": Trial.quantize,
    "executors": Trial.executors,
    "C99": Trial.c99,
    "FPGA": Trial.fpga,
}


def tried(net: Net, path: Path, n_crops: int, passes: int) -> dict[str, str]:
    """How each step ended: a result, or "no: " and the reason."""
    ends: dict[str, str] = {}
    try:
        trial = Trial(net, path, n_crops, passes)
    except FaceletError as error:
        return {"reference": f"no: {error}"}
    for name, step in STEPS.items():
        try:
            ends[name] = step(trial)
        except FaceletError as error:
            ends[name] = f"no: {error}"
            if name in ("reference", "int8"):
                break
    ends["input"] = "x".join(map(str, trial.planes.shape[1:]))
    ends["outputs"] = str(len(trial.graph.outputs))
    return ends


def main() -> None:
    """Tries the nets that lie in a folder and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of names, in the order to try")
    parser.add_argument("--calibration", type=int, default=8, help="images")
    parser.add_argument(
        "--passes", type=int, default=2, help="times that every fraction is tried with a bit more or less"
    )
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    if shutil.which("cc") is None:
        parser.error("needs a C compiler as cc")
    store = options.out / "public-nets.json"
    results: dict[str, dict[str, str]] = json.loads(store.read_text()) if store.exists() else {}
    wanted = dict.fromkeys(net for word in options.only for net in NETS if word in net.name)
    for net in wanted:
        path = options.folder / net.name
        if not path.is_file():
            continue
        results[net.name] = tried(net, path, options.calibration, options.passes)
        write_text_atomic(store, json.dumps(results, indent=1, sort_keys=True) + "\n")
        sys.stdout.write(f"{net.name}: {results[net.name]}\n")
        sys.stdout.flush()
    write_text_atomic(options.out / "public-nets.md", page(results))


def page(results: dict[str, dict[str, str]]) -> str:
    """The page: how many nets came through each step, the table, and the reasons of those that did not."""
    rows = [(net, results[net.name]) for net in NETS if net.name in results]
    counts = {name: sum(not row.get(name, "no").startswith("no") for _, row in rows) for name in STEPS}
    notes: list[str] = []

    def cell(row: dict[str, str], name: str) -> str:
        value = row.get(name, "-")
        if not value.startswith("no: "):
            return value
        if value not in notes:
            notes.append(value)
        return f"no [{notes.index(value) + 1}]"

    lines = [
        f"| {' | '.join([net.repository, net.path, net.kind, row.get('input', '-'), *(cell(row, n) for n in STEPS)])} |"
        for net, row in rows
    ]
    text = HERE.joinpath("public-nets.notes.md").read_text(encoding="utf-8")
    counted = ", ".join(f"{name} {count}" for name, count in counts.items())
    head = ["repository", "file", "kind", "input", *STEPS]
    table = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]
    reasons = [
        f"{index}. {note.removeprefix('no: ').partition('; supported are')[0]}" for index, note in enumerate(notes, 1)
    ]
    return "\n".join([text.rstrip(), "", f"Of {len(rows)} nets: {counted}.", "", *table, "", *reasons, ""])


if __name__ == "__main__":
    main()
