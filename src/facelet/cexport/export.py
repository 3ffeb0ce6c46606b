"""`export_c`: an int8 model becomes a folder of C99 that compiles by itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from facelet.atomic import check_folder, write_files_atomic
from facelet.backends import check_shapes
from facelet.cexport.layers import read_net
from facelet.cexport.net import Net
from facelet.cexport.place import Plan, place
from facelet.cexport.write import TYPES, pixel_integers, sizes, template, thresholds, weights_text
from facelet.errors import GraphError, InputError
from facelet.graph.ir import Graph
from facelet.graph.passes import optimise
from facelet.model import Card
from facelet.model_files import load_model
from facelet.model_graph import model_graph
from facelet.processes import find_program, run

FILES = ("facelet_net.h", "facelet_net.c", "facelet_weights.h")
PROGRAM = ("facelet_main.c", "Makefile")
"""Of an embedder: tells two faces apart."""

BYTES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4}

TENSOR_BYTES, LAYER_BYTES, CHAIN_BYTES, PIXEL_BYTES = 16, 52, 8, 3 * 256 + 3
"""Of the C code's tables, an entry each, where a pointer has 32 bits; and of the integers of pixels."""


def export_c(model: str | Path, out: str | Path) -> dict[str, Any]:
    """Writes an int8 model as C99.

    Args:
        model: a shipped model's name or a `.onnx` file, int8.
        out: folder, made where it is not there; files of other names in it stay.

    Returns:
        `model`, `out`, `files`, and in bytes: `ram_bytes` the arena of activations, `unstreamed_ram_bytes` the same if
        every tensor were kept whole, `image_bytes` the caller's image, `constants_bytes` weights and tables,
        `code_bytes` of the layers as this machine's compiler makes them, None where there is none, and `flash_bytes`
        both together.

    Raises:
        UnknownNameError: no such model.
        MissingFileError: no such file.
        ModelError: the file has no card, or one that does not fit.
        GraphError: it is not int8, or holds something that the C code has no form of.
        InputError: the folder cannot be written.
    """
    out = Path(out)
    found = load_model(model)
    card = found.card
    if found.path.suffix != ".onnx":
        raise InputError(f"{found.path}: only .onnx files can be written as C")
    check_folder(out)
    graph = optimise(model_graph(found))
    try:
        net = read_net(graph)
    except GraphError as error:
        raise GraphError(f"{found.path}: {error}") from error
    shapes = [list(graph.shapes[name]) for name in (graph.inputs[0], graph.outputs[0])]
    check_shapes(str(found.path), card, shapes[0], shapes[1])
    texts, report = c_texts(graph, net, card)
    write_files_atomic({out / name: text.encode() for name, text in texts.items()})
    return {"model": card.name, "out": str(out), "files": sorted(texts), **report}


def c_texts(graph: Graph, net: Net, card: Card) -> tuple[dict[str, str], dict[str, Any]]:
    """The files, by name, and what `export_c` returns about their sizes.

    Args:
        graph: optimised, int8, of one image.
        net: made of it.
        card: of the preprocessing, the name and the thresholds.
    """
    plan = place(net)
    fraction = next(node["fraction"] for node in graph.nodes if node.op == "QuantizeLinear")
    colors = [0, 1, 2] if card.color == "rgb" else [2, 1, 0]
    bytes_ = _bytes(net, plan, card)
    values: dict[str, object] = {
        **sizes(net, plan),
        "NAME": card.name,
        "HEIGHT": card.height,
        "WIDTH": card.width,
        "EMBEDDING_SIZE": net.tensors[net.outputs[0]].channels if net.embeds else 0,
        "THRESHOLDS": thresholds(card),
        "TAIL": f"The model goes on in float: {', '.join(net.tail)}." if net.tail and not net.embeds else "",
    }
    texts = {name: template(name, values) for name in (*FILES, *(PROGRAM if net.embeds else ()))}
    texts["facelet_weights.c"] = weights_text(net, plan, pixel_integers(card, fraction), colors)
    code = code_bytes(texts)
    known = f"{code:,} as a compiler of the exporting machine made it" if code else "not known: no compiler was there"
    texts["README.md"] = template(
        "README.md" if net.embeds else "README_net.md",
        {
            **values,
            "RAM": f"{bytes_['ram_bytes']:,}",
            "IMAGE": f"{bytes_['image_bytes']:,}",
            "CONSTANTS": f"{bytes_['constants_bytes']:,}",
            "CODE": known,
            "TEMPLATE": card.template,
            "LICENCE": card.licence or "not given in its card",
            "DATA": card.data or "not given in its card",
        },
    )
    return texts, {
        "flash_bytes": bytes_["constants_bytes"] + (code or 0),
        **bytes_,
        "code_bytes": code,
        "layers": len(net.layers),
        "chains": len(plan.chains),
    }


def _bytes(net: Net, plan: Plan, card: Card) -> dict[str, int]:
    """What the network takes of a board, its code aside."""
    numbers = sum(
        (layer.weights.size if layer.weights is not None else 0)
        + sum(BYTES[TYPES[name]] * len(vector) for name, vector in layer.vectors.items())
        for layer in net.layers
    )
    tables = TENSOR_BYTES * len(net.tensors) + LAYER_BYTES * len(net.layers) + CHAIN_BYTES * len(plan.chains)
    return {
        "ram_bytes": plan.size,
        "unstreamed_ram_bytes": plan.whole_size,
        "image_bytes": card.height * card.width * 3,
        "constants_bytes": numbers + tables + PIXEL_BYTES,
    }


def code_bytes(texts: dict[str, str]) -> int | None:
    """Bytes of the layers' code, made small by this machine's compiler; None where it or `size` is not there.

    Args:
        texts: by file name: facelet_net.c and its two headers.
    """
    compiler, size = find_program("cc", "gcc"), find_program("size")
    if compiler is None or size is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name in ("facelet_net.c", "facelet_net.h", "facelet_weights.h"):
            (Path(folder) / name).write_text(texts[name], encoding="utf-8")
        command = [compiler, "-std=c99", "-Os", "-c", "facelet_net.c", "-o", "facelet_net.o"]
        made = run(command, cwd=folder)
        told = run([size, "facelet_net.o"], cwd=folder)
        if made.returncode or told.returncode:
            return None
    return int(told.stdout.splitlines()[1].split()[0])
