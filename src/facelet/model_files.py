"""Model files: found by name or path, read with their card, and given a new card.

Three kinds: ONNX (`.onnx`, the card in `metadata_props`), OpenVINO IR (`.xml` with its `.bin`) and dlib (`.dat`).
The last two cannot hold a card; theirs lies beside them as `NAME.card.json`, or is known by content hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from facelet.assets import DLIB_RESNET, KNOWN_MODELS, packaged_dlib_file
from facelet.atomic import write_bytes_atomic, write_text_atomic
from facelet.errors import InputError, MissingFileError, ModelError, UnknownNameError, reason, shown
from facelet.model import CARD_KEY, Card, Model, weights_path

if TYPE_CHECKING:
    import onnx

    from facelet.graph.ir import Graph

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED_MODELS = (
    "nn4_small2",
    "mobilenet_v2_050",
    "mobilenet_v2_035",
    "facelet_s",
    "facelet_xs",
    "facelet_s_int8",
    "facelet_xs_int8",
)
LANDMARKS = WEIGHTS / "landmarks.onnx"
"""The net by which `faces.refine` places landmarks anew."""
DEFAULT_MODEL = "facelet_s"
DLIB_NAME = DLIB_RESNET.name
KINDS = (".onnx", ".xml", ".dat")


def find_model(name_or_path: str | Path) -> Path:
    """The file of a shipped model, of dlib's ResNet ("dlib_resnet"), or at a path.

    Raises:
        InputError: the name is empty.
        UnknownNameError: neither a known name nor a path.
        MissingFileError: there is no such file.
        ModelError: the file is of no known kind.
    """
    name = str(name_or_path)
    if not name or name == ".":
        raise InputError("model: its name is empty; give a shipped model's name or a file")
    if name == DLIB_NAME:
        return packaged_dlib_file("dlib_face_recognition_resnet_model_v1.dat")
    if name in SHIPPED_MODELS:
        shipped = WEIGHTS / f"{name}.onnx"
        if not shipped.is_file():
            raise MissingFileError(
                f"model {name}: its weights are not in this installation ({shipped}); reinstall facelet, or train it"
            )
        return shipped
    path = Path(name_or_path)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, a folder that is closed, a zero byte
        raise ModelError(f"{shown(path)}: cannot be read ({reason(error)})") from error
    if is_folder:
        raise ModelError(f"{shown(path)}: is a folder; give a model file ({', '.join(KINDS)})")
    if not exists:
        if path.suffix or len(path.parts) > 1:
            raise MissingFileError(
                f"{shown(path)}: no such model file; give its path, or a name that `facelet models` lists"
            )
        raise UnknownNameError("model", name, [*SHIPPED_MODELS, DLIB_NAME])
    if path.suffix not in KINDS:
        hint = "; give the .xml beside it" if path.suffix == ".bin" else ""
        raise ModelError(f"{shown(path)}: not a model file by its name; known kinds: {', '.join(KINDS)}{hint}")
    return path


def load_model(name_or_path: str | Path, card: Card | str | Path | None = None) -> Model:
    """Finds a model and reads its card; the network itself is not run.

    Args:
        name_or_path: name of a shipped model, "dlib_resnet", or the path of a `.onnx`, `.xml` or `.dat` file.
        card: a card, or the JSON file of one, that takes the place of the file's own.

    Raises:
        UnknownNameError: neither a known name nor a path.
        MissingFileError: the file, its `.bin`, or the card's file is not there.
        ModelError: the file cannot be read, has no card, or a card that does not fit; or its network is in training
            form or has weights that are not numbers.
    """
    path = find_model(name_or_path)
    content = weights_path(path)
    if not _is_file(content):
        raise MissingFileError(f"{content}: the weights of {path.name} are not beside it")
    try:
        sha256 = hashlib.sha256(content.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{content}: cannot be read ({error.strerror})") from error
    if isinstance(card, str | Path):
        card = _read_card_file(Path(card))
    proto = read_onnx(path) if path.suffix == ".onnx" else None
    embedded = None if proto is None else _embedded_card(proto, path)
    if card is None:
        sidecar = sidecar_path(path)
        if embedded is not None:
            card = embedded
        elif _is_file(sidecar):
            card = _read_card_file(sidecar)
        elif sha256 in KNOWN_MODELS:
            card = KNOWN_MODELS[sha256]
        else:
            raise ModelError(
                f"{path}: no card, so its input size, colours and alignment are unknown; "
                f"describe them in {sidecar.name} beside it"
            )
    card.check(str(path))
    if proto is not None:
        from facelet.graph.onnx_sound import check_sound

        check_sound(proto, str(path))
    return Model(path=path, card=card, sha256=sha256)


def is_installed(model: Model) -> bool:
    """Whether a model's file came with an installed package: one of the shipped ones as pip laid it down, or dlib's."""
    return bool({"site-packages", "dist-packages"} & {*model.path.resolve().parts})


def file_label(model: Model) -> str:
    """A model's name for a folder of results; with the head of its hash where the file is none of the shipped ones."""
    shipped = model.path.parent == WEIGHTS
    return model.card.name if shipped else f"{model.card.name}-{model.sha256[:8]}"


def sidecar_path(path: Path) -> Path:
    """Where the card lies of a file that cannot hold one: `NAME.card.json` beside it."""
    return path.with_name(f"{path.stem}.card.json")


def save_card(path: str | Path, card: Card) -> None:
    """Gives a model file a new card; the file is replaced in one step.

    Args:
        path: a `.onnx` file, whose metadata is rewritten; for other kinds the sidecar is written.

    Raises:
        MissingFileError: there is no such file.
        ModelError: the card does not fit, or the file is no ONNX model.
        InputError: the place cannot be written.
    """
    path = Path(path)
    card.check(str(path))
    if path.suffix != ".onnx":
        write_text_atomic(sidecar_path(path), card.to_json() + "\n")
        return
    write_bytes_atomic(path, with_card(read_onnx(path), card).SerializeToString())


def save_model(path: Path, graph: Graph, card: Card) -> None:
    """Writes a network with its card as a `.onnx` file, which appears whole or not at all.

    Raises:
        InputError: the place cannot be written.
    """
    from facelet.graph.onnx_io import write_graph

    write_bytes_atomic(path, with_card(write_graph(graph), card).SerializeToString())


def with_card(proto: onnx.ModelProto, card: Card) -> onnx.ModelProto:
    """The ONNX model with this card in its metadata, in place of one it may have had; changes and returns `proto`."""
    kept = [entry for entry in proto.metadata_props if entry.key != CARD_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.metadata_props.add(key=CARD_KEY, value=card.to_json())
    return proto


def read_onnx(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file.

    Raises:
        MissingFileError: there is no such file.
        ModelError: the file holds no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.checker import ValidationError

    if not _is_file(path):
        raise MissingFileError(f"{path}: no such model file")
    try:
        proto = onnx.load(path)
    except ValidationError as error:
        raise ModelError(f"{path}: the file of its weights is not beside it; copy that too") from error
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a readable ONNX file; copy or export it again") from error
    if not proto.graph.node or not proto.graph.input or not proto.graph.output:
        raise ModelError(f"{path}: an ONNX file without a network (empty or cut off); copy or export it again")
    return proto


def _is_file(path: Path) -> bool:
    """Whether there is such a file; none has a name that is too long for one."""
    try:
        return path.is_file()
    except OSError:
        return False


def _embedded_card(proto: onnx.ModelProto, path: Path) -> Card | None:
    found = [entry.value for entry in proto.metadata_props if entry.key == CARD_KEY]
    return Card.from_json(found[0], str(path)) if found else None


def _read_card_file(path: Path) -> Card:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingFileError(f"{shown(path)}: no such card file") from error
    except (OSError, ValueError) as error:  # a folder, bytes that are no text, a zero byte in the name
        raise ModelError(f"{shown(path)}: the card cannot be read as text") from error
    return Card.from_json(text, str(path))
