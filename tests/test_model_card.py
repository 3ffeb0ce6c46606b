"""Hand-computed and invariant: cards survive the way through a file, and wrong ones are named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facelet.assets import KNOWN_MODELS
from facelet.errors import GraphError, InputError, MissingFileError, ModelError, UnknownNameError
from facelet.graph.read import read_net
from facelet.model import CARD_KEY, Card
from facelet.model_files import SHIPPED_MODELS, find_model, load_model, save_card, sidecar_path
from tiny_models import tiny_card, tiny_onnx, write_tiny

shown = st.characters(categories=("L", "N", "P", "S"), exclude_characters="/\\")
numbers = st.floats(-300, 300, allow_nan=False)
triples = st.tuples(numbers, numbers, numbers)
cards = st.builds(
    Card,
    name=st.text(shown, min_size=1, max_size=20).filter(lambda name: not name.startswith(".")),
    height=st.integers(1, 4096),
    width=st.integers(1, 4096),
    template=st.sampled_from(["arcface", "dlib", "box"]),
    embedding_size=st.integers(1, 4096),
    color=st.sampled_from(["rgb", "bgr"]),
    mean=triples,
    scale=triples.filter(all),
    normalized=st.booleans(),
    thresholds=st.dictionaries(st.sampled_from(["1e-1", "1e-2", "0.001"]), st.floats(0, 4)),
    parameters=st.integers(0, 10**9),
    macs=st.integers(0, 10**12),
    metrics=st.dictionaries(st.text(max_size=9), st.floats(0, 1)),
    teacher=st.text(max_size=9),
    licence=st.text(max_size=9),
)


@given(cards)
def test_a_card_survives_json(card: Card) -> None:
    assert Card.from_json(card.to_json(), "here") == card


def test_a_card_survives_the_file_and_leaves_the_network_alone(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card())
    before = onnx.load(path)
    changed = dataclasses.replace(tiny_card(), thresholds={"1e-2": 0.9}, metrics={"lfw": 0.97})
    save_card(path, changed)
    assert load_model(path).card == changed
    after = onnx.load(path)
    assert after.graph.SerializeToString() == before.graph.SerializeToString()
    assert [entry.key for entry in after.metadata_props] == [CARD_KEY]
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_foreign_metadata_is_kept(tmp_path: Path) -> None:
    proto = tiny_onnx()
    proto.metadata_props.add(key="author", value="someone")
    path = write_tiny(tmp_path / "m.onnx", tiny_card(), proto)
    save_card(path, tiny_card(name="other"))
    assert {entry.key: entry.value for entry in onnx.load(path).metadata_props}["author"] == "someone"


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card())
    assert load_model(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_sidecar_serves_where_the_file_has_no_card(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"no card.*m\.card\.json"):
        load_model(path)
    sidecar_path(path).write_text(tiny_card(name="beside").to_json())
    assert load_model(path).card.name == "beside"


def test_precedence_given_over_embedded_over_sidecar(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card(name="embedded"))
    sidecar_path(path).write_text(tiny_card(name="beside").to_json())
    assert load_model(path).card.name == "embedded"
    assert load_model(path, tiny_card(name="given")).card.name == "given"
    assert load_model(path, sidecar_path(path)).card.name == "beside"


def test_a_known_file_needs_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny(tmp_path / "m.onnx")
    monkeypatch.setitem(KNOWN_MODELS, hashlib.sha256(path.read_bytes()).hexdigest(), tiny_card(name="known"))
    assert load_model(path).card.name == "known"


def test_an_ir_is_hashed_by_its_weights_and_takes_a_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    path.write_text("<net/>")
    with pytest.raises(MissingFileError, match=r"net\.bin"):
        load_model(path)
    path.with_suffix(".bin").write_bytes(b"weights")
    save_card(path, tiny_card(name="ir"))
    model = load_model(path)
    assert (model.card.name, model.sha256) == ("ir", hashlib.sha256(b"weights").hexdigest())


def test_thresholds_are_found_by_value_not_by_spelling() -> None:
    card = tiny_card(thresholds={"1e-3": 0.7, "0.01": 1.1})
    assert card.threshold_at(0.001) == 0.7
    assert card.threshold_at(1e-2) == 1.1
    with pytest.raises(ModelError, match=r"no threshold for FAR 0\.1 .*facelet calibrate"):
        card.threshold_at(0.1)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("height", 0, "height must be a whole number in 1..4096, found 0"),
        ("width", "96", "width must be a whole number"),
        ("embedding_size", True, "embedding_size must be a whole number"),
        ("color", "grey", "color must be 'rgb' or 'bgr', found 'grey'"),
        ("mean", [1, 2], "mean must be three numbers"),
        ("scale", ["a", "b", "c"], "scale must be three numbers"),
        ("mean", 7, "mean must be three numbers"),
        ("mean", [10**400, 1, 1], "mean must be three numbers"),
        ("metrics", {"lfw": -(10**400)}, "metrics must map names to numbers"),
        ("thresholds", [1], "thresholds must map names to numbers"),
        ("thresholds", {"1e-3": 9.0}, "squared distances in 0..4"),
        ("thresholds", {"low": 1.0}, "false accept rates"),
        ("metrics", {"lfw": "good"}, "metrics must map names to numbers"),
        ("name", "", "name must be text"),
        ("name", "a/b", "can stand in a file's name"),
        ("name", ".hidden", "can stand in a file's name"),
        ("name", "two\nlines", "can stand in a file's name"),
        ("name", 101 * "x", "at most 100 characters"),
        ("scale", (1.0, 0.0, 1.0), "scale must not hold 0"),
        ("template", None, "template must be text"),
        ("parameters", -1, "parameters must be a whole number from 0"),
        ("normalized", "yes", "normalized must be true or false"),
        ("colour", "rgb", "unknown fields colour"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, words: str) -> None:
    content = {**json.loads(tiny_card().to_json()), field: value}
    with pytest.raises(ModelError, match="here: ") as caught:
        Card.from_json(json.dumps(content), "here")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"name": "x"}', "lacks height, width, template"),
        ('{"mean": ' + 100_000 * "[" + 100_000 * "]" + "}", "the card cannot be read"),
        (f'{{"macs": {5000 * "9"}}}', "the card cannot be read"),
    ],
    ids=["cut off", "list", "lacks fields", "brackets", "digits"],
)
def test_a_broken_card_is_named(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Card.from_json(text, "here")


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'facelet_s'\?"):
        find_model("facelets")
    assert issubclass(UnknownNameError, ValueError)


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_shipped_names_lead_into_the_package(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facelet.model_files.WEIGHTS", tmp_path)
    with pytest.raises(MissingFileError, match=f"model {name}: its weights are not in this installation"):
        find_model(name)
    write_tiny(tmp_path / f"{name}.onnx", tiny_card(name=name))
    assert load_model(name).path == tmp_path / f"{name}.onnx"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.onnx", b"", "without a network"),
        ("a.onnx", b"\x00garbage\xff" * 9, "not a readable ONNX file|without a network"),
        ("a.onnx", tiny_onnx().SerializeToString()[:200], "not a readable ONNX file"),
        ("a.pt", b"x", "known kinds: .onnx, .xml, .dat"),
        ("a.bin", b"x", "give the .xml beside it"),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words):
        load_model(path)


@pytest.mark.parametrize("name", ["a" * 5000 + ".onnx", "a" * 5000, "a" * 5000 + "/b.xml"])
def test_a_name_that_is_too_long_is_one_line(name: str) -> None:
    with pytest.raises(ModelError, match=": cannot be read"):
        load_model(name)
    with pytest.raises((MissingFileError, InputError), match=r"no such model file|cannot be written"):
        save_card(name, tiny_card())
    with pytest.raises(GraphError, match=r"not a readable ONNX file|not an IR|only \.onnx files"):
        read_net(name)


def test_a_name_without_room_for_a_sidecar_has_none(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / f"{'a' * 250}.onnx")
    with pytest.raises(ModelError, match="no card"):
        load_model(path)


def test_text_does_for_a_path(tmp_path: Path) -> None:
    path, beside = write_tiny(tmp_path / "m.onnx", tiny_card()), tmp_path / "c.json"
    beside.write_text(tiny_card(name="given").to_json())
    assert load_model(str(path), str(beside)).card.name == "given"
    save_card(str(path), tiny_card(name="saved"))
    assert load_model(str(path)).card.name == "saved"
    assert read_net(str(path)).outputs == read_net(path).outputs
    with pytest.raises(ModelError, match="cannot be read as text"):
        load_model(path, "c\0.json")


def test_a_card_is_never_written_in_part(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx", tiny_card())
    before = path.read_bytes()
    with pytest.raises(ModelError, match="height"):
        save_card(path, dataclasses.replace(tiny_card(), height=-1))
    assert path.read_bytes() == before
    with pytest.raises(MissingFileError, match="no such model file"):
        save_card(tmp_path / "absent.onnx", tiny_card())
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        save_card(file / "net.xml", tiny_card())
