"""One small run of every command family, on synthetic faces and drawn photos, for tests of what they touch."""

from __future__ import annotations

from pathlib import Path

from drawn_faces import draw_face, write_photo
from tiny_int8 import CARD, drawn, int8_file, int8_graph
from tiny_lfw import write_lfw
from tiny_models import photo_model

QUICK: dict[str, str] = {
    "models": "models",
    "verify": "verify a.png b.png",
    "embed": "embed a.png b.png --out out/vectors.npz",
    "cluster": "cluster photos --out out/sorted",
    "prune": "prune nn4_small2 --out out/pruned.onnx",
    "compile": "compile tiny.onnx --print",
    "fpga boards": "fpga boards",
    "fpga export": "fpga export int8.onnx --flavour c --out out/c",
    "synthetic sample": "synthetic sample --out out/people --identities 2 --photos 2",
}
"""Commands by family, which take a second or less each where Python runs already."""

SLOW: dict[str, str] = {
    "verify, opencl": "verify a.png b.png --backend opencl --model tiny.onnx",
    "embed, dlib": "embed a.png --model dlib_resnet --out out/dlib.npz",
    "evaluate": "evaluate tiny.onnx --data lfw --view 1 --out out/evaluate",
    "inspect": "inspect tiny.onnx --png out/graph.png",
    "study": "study",
    "fpga explore": "fpga explore tiny.onnx --board de10-nano --png out/front.png",
    "train landmarks": "train landmarks --data crops --aligned --epochs 1 --batch 8 --out out/landmarks",
    "average": "average tiny.onnx tiny.onnx --out out/average.onnx",
    "align": "align a.png b.png --out out/crops",
    "devices": "devices",
    "verify, openvino": "verify a.png b.png --backend openvino --model tiny.onnx",
    "calibrate": "calibrate tiny.onnx --data lfw",
    "quantize": "quantize tiny.onnx --calibration crops --aligned --images 8 --out out/int8.onnx --report out/noise",
    "bench": "bench tiny.onnx --blocks 1 --out out/bench --layers pocl",
    "study, quick": "study alignment --quick --out out/study",
    "study, search": "study tune --quick --trials 1 --out out/study",
    "distill": "distill facelet_xs --teacher tiny.onnx --data crops --aligned --epochs 1 --batch 8 --out out/distill",
    "distill, workers": "distill facelet_xs --teacher tiny.onnx --data crops --aligned --epochs 1 --batch 8"
    " --workers 2 --out out/workers",
    "train triplet": "train triplet facelet_xs --data crops --aligned --epochs 1 --people 4 --photos 2"
    " --out out/triplet",
    "fpga report": "fpga report tiny.onnx --board de10-nano --out out/report",
    "fpga validate": "fpga validate",
    "fpga synth": "fpga synth",
    "fpga emulate": "fpga emulate int8.onnx crop.png --device pocl",
}
"""The others, which take seconds to minutes together."""


def lay_out(folder: Path) -> Path:
    """Writes what the commands read, and the folder `out` that they write to; returns the folder."""
    for name, seed in (("a", 1), ("b", 2)):
        write_photo(folder / f"{name}.png", draw_face(seed))
        write_photo(folder / "photos" / f"{name}.png", draw_face(seed))
    for person in range(8):
        for photo in range(2):
            write_photo(folder / "crops" / str(person) / f"{photo}.png", draw_face(2 * person + photo, 128))
    write_lfw(folder / "lfw")
    photo_model(folder / "tiny.onnx")
    int8_file(int8_graph(drawn(0)), folder / "int8.onnx")
    write_photo(folder / "crop.png", draw_face(3, 64)[: CARD.height, : CARD.width])
    (folder / "out").mkdir()
    return folder
