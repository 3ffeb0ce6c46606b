"""Hand-made bad files and arguments through the real command line: each ends in one clear line and exit code 2."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from onnx.external_data_helper import set_external_data

from conftest import Ended
from drawn_faces import draw_face, write_photo
from facelet.model_files import sidecar_path
from tiny_models import photo_model, tiny_card, tiny_onnx, write_tiny

Cli = Callable[..., Ended]
PAIRS_HEAD = "2\t1\n"
PAIRS = PAIRS_HEAD + "Ann\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nBob\t2\tAnn\t2\n"


@dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes:
        name: what is wrong.
        arguments: the command; a word with `{}` is a path in the folder of bad files.
        words: what the line must say.
    """

    name: str
    arguments: str
    words: str


VERIFY = "verify {good.png} {good.png} --model {m.onnx}"
EVALUATE = "evaluate {m.onnx} --data"
DISTILL = "distill facelet_xs --teacher {m.onnx} --aligned --batch 2"
TRIPLET = "train triplet facelet_xs --aligned --people 2 --photos 2"

CASES = [
    # photos
    Case("photo missing", "verify {good.png} {absent.png} --model {m.onnx}", "absent.png: no such file"),
    Case("photo empty", "verify {empty.jpg} {good.png} --model {m.onnx}", "empty.jpg: the file is empty"),
    Case("photo cut off", "verify {cut.jpg} {good.png} --model {m.onnx}", "cut.jpg: the image is damaged or cut short"),
    Case("photo cut in its header", "verify {stub.png} {good.png} --model {m.onnx}", "stub.png: "),
    Case("web page named jpg", "verify {page.jpg} {good.png} --model {m.onnx}", "page.jpg: not an image"),
    Case("noise named jpg", "verify {noise.jpg} {good.png} --model {m.onnx}", "noise.jpg: not an image"),
    Case("photo is a folder", "verify {folder.jpg} {good.png} --model {m.onnx}", "folder.jpg: a folder"),
    Case("photo of zero size", "verify {zero.png} {good.png} --model {m.onnx}", "zero.png: "),
    Case("photo of gigantic size", "verify {giant.png} {good.png} --model {m.onnx}", "giant.png: "),
    Case("photo of one pixel", "verify {pixel.png} {good.png} --model {m.onnx}", "pixel.png: no face found by dlib"),
    Case("photo without a face", "embed {blank.png} --model {m.onnx}", "blank.png: no face found by dlib"),
    Case("one of many photos bad", "embed {good.png} {page.jpg} --model {m.onnx}", "page.jpg: not an image"),
    Case("path through a file", "embed {good.png}/x.png --model {m.onnx}", "x.png"),
    Case("path with a zero byte", "embed \0.png --model {m.onnx}", "null"),
    Case("path too long", f"embed {'x' * 5000}.png --model {{m.onnx}}", "xxx"),
    # command line
    Case("unknown command", "verfy a b", "No such command 'verfy'. Did you mean 'verify'?"),
    Case("unknown command in a group", "train tripel", "No such command 'tripel'. Did you mean 'triplet'?"),
    Case("unknown option", "verify a b --modle m", "No such option: --modle"),
    Case("photo left out", "verify {good.png}", "Missing argument 'B'"),
    Case("too many photos", "verify {good.png} {good.png} {good.png}", "unexpected extra argument"),
    Case("no photos", "embed", "Missing argument 'IMAGE...'"),
    Case("option without value", "verify a b --model", "--model"),
    # options that would change nothing
    Case("minutes of no recovery", "prune {m.onnx} --minutes 2", "--minutes: changes nothing without --recover"),
    Case("crops for no channels", "prune {m.onnx} --images 9", "--images: changes nothing without --channels"),
    Case("aligned nothing", "quantize {m.onnx} --aligned", "--aligned: changes nothing without --calibration"),
    Case("rate of no steps", "quantize {m.onnx} --learning-rate 1e-3", "--learning-rate: changes nothing without"),
    Case("two thresholds", "cluster {folder.jpg} --out {o} --far 0.1 --threshold 1", "--far: changes nothing beside"),
    Case("layers unprinted", "compile {m.onnx} --layers", "--layers: changes nothing without --print"),
    Case("two idle ones", "prune {m.onnx} --minutes 2 --threads 1", "--minutes, --threads: changes nothing without"),
    Case("hint of no tap", f"{DISTILL} --hint-weight 2", "--hint-weight: changes nothing without --tap"),
    Case("quick on photos", "study losses --quick --data {folder.jpg}", "--data: changes nothing with --quick"),
    Case("board for C", "fpga export {m.onnx} --flavour c --board de1-soc --out {o}", "--board: changes nothing with"),
    Case(
        "detector of crops", "evaluate {m.onnx} --data {folder.jpg} --benchmark heldout --detector yunet", "--detector"
    ),
    # places that cannot be written
    Case("out through a file", "embed {good.png} --model {m.onnx} --out {empty.jpg}/v.npz", "empty.jpg is no folder"),
    Case("model out through a file", "prune {m.onnx} --out {empty.jpg}/m.onnx", "empty.jpg is no folder"),
    Case("model out where nothing can be made", "prune {m.onnx} --out /proc/m.onnx", "/proc may not be written to"),
    Case("drawing of another kind", "inspect {m.onnx} --png {o}.jpg", "give a file that ends in .png"),
    Case("folder out is a file", "bench {m.onnx} --out {empty.jpg}/b", "empty.jpg is no folder"),
    # options
    Case("FAR of zero", f"{VERIFY} --far 0", "far: must be a rate between 0 and 1, such as 1e-3; found 0"),
    Case("FAR above one", f"{VERIFY} --far 2", "far: must be a rate between 0 and 1, such as 1e-3; found 2"),
    Case("FAR not a number", f"{VERIFY} --far nan", "far: must be a rate between 0 and 1"),
    Case("FAR not numeric", f"{VERIFY} --far low", "Invalid value for '--far'"),
    Case("FAR not calibrated", f"{VERIFY} --far 1e-5", "no threshold for FAR 1e-05 in its card (there: 1e-2, 1e-3)"),
    Case("negative threads", f"{VERIFY} --threads -2", "threads: must be 1 or more, found -2"),
    Case("negative seed", f"{VERIFY} --seed -1", "Invalid value for '--seed'"),
    Case("unknown detector", f"{VERIFY} --detector yolo", "detector 'yolo': not known"),
    Case(
        "near detector",
        f"{VERIFY} --detector yunt",
        "did you mean 'yunet'? known: dlib, dlib_refined, yunet, yunet_refined",
    ),
    Case(
        "detector file missing", f"{VERIFY} --detector yunet --detector-model {{absent.onnx}}", "absent.onnx: no such"
    ),
    Case("detector file wrong", f"{VERIFY} --detector yunet --detector-model {{m.onnx}}", "m.onnx"),
    Case("detector file garbage", f"{VERIFY} --detector yunet --detector-model {{noise.jpg}}", "noise.jpg"),
    Case("dlib file garbage", f"{VERIFY} --detector-model {{noise.jpg}}", "noise.jpg: not a landmark model"),
    Case("detector not to be fetched", f"{VERIFY} --detector yunet", "asset 'yunet': cannot be fetched"),
    Case(
        "unknown template",
        "align {good.png} --template arcfase",
        "template 'arcfase': not known; did you mean 'arcface'",
    ),
    Case("crop of no size", "align {good.png} --size 0", "--size: must be 16 to 1024 pixels, found 0"),
    Case("crops of one name", "align {good.png} {other/good.png} --out {made}", "its crop would overwrite"),
    Case("crops into a file", "align {good.png} --out {page.jpg}", "page.jpg: is a file; give a folder"),
    Case("vectors of unknown kind", "embed {good.png} --model {m.onnx} --out v.csv", "kind of file '.csv': not known"),
    Case("vectors into a folder", "embed {good.png} --model {m.onnx} --out {folder.npz}", "folder.npz: is a folder"),
    Case("vectors below a file", "embed {good.png} --model {m.onnx} --out {page.jpg}/v.npz", "cannot be written"),
    # models
    Case(
        "unknown model", "verify {good.png} {good.png} --model facelet_x", "model 'facelet_x': not known; did you mean"
    ),
    Case("model file missing", "verify {good.png} {good.png} --model {absent.onnx}", "absent.onnx: no such model file"),
    Case("model is a folder", "models {folder.jpg}", "folder.jpg: is a folder; give a model file"),
    Case("model of unknown kind", "models {page.jpg}", "page.jpg: not a model file by its name"),
    Case("model empty", "models {empty.onnx}", "empty.onnx: an ONNX file without a network"),
    Case("model garbage", "models {noise.onnx}", "noise.onnx: "),
    Case("model cut off", "models {cut.onnx}", "cut.onnx: not a readable ONNX file"),
    Case("model without card", "models {bare.onnx}", "bare.onnx: no card"),
    Case("card not JSON", "models {notjson.onnx}", "the card is not JSON"),
    Case("card of a list", "models {list.onnx}", "the card must be a JSON object, found list"),
    Case("card lacks fields", "models {lacks.onnx}", "the card lacks height, width, template, embedding_size"),
    Case("card with unknown fields", "models {extra.onnx}", "unknown fields colour"),
    Case("card with wrong value", "models {wrong.onnx}", "card field color must be 'rgb' or 'bgr', found 'grey'"),
    Case(
        "card of another input size", "verify {good.png} {good.png} --model {size.onnx}", "card of tiny says nx3x96x96"
    ),
    Case("card of another embedding", "verify {good.png} {good.png} --model {emb.onnx}", "has 128 numbers, the card"),
    Case(
        "card with unknown template",
        "verify {good.png} {good.png} --model {temp.onnx}",
        "template 'arcfase': not known",
    ),
    Case("network cannot run", "verify {good.png} {good.png} --model {op.onnx}", "onnxruntime refuses it"),
    Case("IR without weights", "models {net.xml}", "net.bin: the weights of net.xml are not beside it"),
    Case("IR without layers", "verify {good.png} {good.png} --model {hollow.xml}", "hollow.xml: "),
    Case("IR garbage", "verify {good.png} {good.png} --model {bad.xml}", "bad.xml: not an OpenVINO IR"),
    Case("dlib model garbage", "verify {good.png} {good.png} --model {bad.dat}", "bad.dat: dlib refuses it"),
    Case("model's name empty", "models .", "its name is empty"),
    Case("weights elsewhere", "models {outside.onnx}", "outside.onnx: the file of its weights is not beside it"),
    Case("name that leads elsewhere", "models {leads.onnx}", "card field name must be at most 100 characters"),
    Case("card that sees nothing", "models {blind.onnx}", "card field scale must not hold 0"),
    Case("model that replaces itself", "quantize {m.onnx} --out {m.onnx}", "m.onnx: is a model that is read"),
    Case("pruned in its own place", "prune {m.onnx} --out {m.onnx}", "m.onnx: is a model that is read"),
    Case("mean in place of one", "average {m.onnx} {big.onnx} --out {big.onnx}", "big.onnx: is a model that is read"),
    Case("threads past counting", f"{VERIFY} --threads 3000000000", "threads: must be at most 1024, found 3000000000"),
    Case(
        "threads of a training",
        "study losses --quick --threads 3000000000",
        "--threads: must be at least 1 and at most 1024",
    ),
    Case("rate of a quantization", "quantize {m.onnx} --learning-rate nan", "--learning-rate: must be above 0"),
    Case("foreign file's thresholds", "calibrate dlib_resnet --data {lfw-view1}", "belongs to an installed package"),
    Case("study with no such backend", "study losses --quick --backend nope", "backend 'nope': not known"),
    # benchmarks
    Case("unknown benchmark", f"{EVALUATE} {{lfw}} --benchmark lfv", "benchmark 'lfv': not known; did you mean 'lfw'"),
    Case("unknown view", f"{EVALUATE} {{lfw}} --view 3", "view: 3 is not known; LFW has views 1 and 2"),
    Case("data missing", f"{EVALUATE} {{absent}}", "absent: no such file or folder"),
    Case("data without pairs", f"{EVALUATE} {{other}}", "pairs.txt: no such file"),
    Case("View 1 lists missing", f"{EVALUATE} {{lfw}} --view 1", "pairsDevTrain.txt: no such file"),
    Case("pairs empty", f"{EVALUATE} {{lfw-empty}}", "pairs.txt: line 1 is ''; expected 'folds n' or 'n'"),
    Case("pairs with wrong head", f"{EVALUATE} {{lfw-head}}", "pairs.txt: line 1 is 'many pairs'"),
    Case("pairs too few", f"{EVALUATE} {{lfw-few}}", "pairs.txt: 2 pairs; line 1 announces 4"),
    Case(
        "pairs with a short line",
        f"{EVALUATE} {{lfw-short}}",
        "pairs.txt: line 3 is 'Ann\\t1'; expected 'name a name b'",
    ),
    Case("pairs without a number", f"{EVALUATE} {{lfw-number}}", "pairs.txt: line 2 names image 'Ann' 'one'"),
    Case("pairs leading outside", f"{EVALUATE} {{lfw-outside}}", "pairs.txt: line 2 names image '../Ann' '1'"),
    Case("pairs binary", f"{EVALUATE} {{lfw-binary}}", "pairs.txt: not a text file"),
    Case("images missing", f"{EVALUATE} {{lfw-bare}}", "lfw-bare: holds no images of LFW"),
    Case("one image missing", f"{EVALUATE} {{lfw-lacks}}", "lacks 1 of the 4 images of view 2, first Bob/Bob_0002.jpg"),
    Case("one image broken", f"{EVALUATE} {{lfw-broken}}", "Bob_0002.jpg: not an image"),
    Case("archive broken", f"{EVALUATE} {{lfw-archive}}", "lfw.tar.gz: cannot be unpacked"),
    Case("view of packed pairs", f"{EVALUATE} {{noise.bin}} --view 1", "--view: changes nothing with packed pairs"),
    Case("detector of packed pairs", f"{EVALUATE} {{noise.bin}} --detector yunet", "--detector: changes nothing with"),
    Case("packed pairs garbage", f"{EVALUATE} {{noise.bin}}", "noise.bin: not a pickle of packed pairs"),
    Case("packed pairs that run code", f"{EVALUATE} {{evil.bin}}", "which packed pairs do not need; refused"),
    Case("packed pairs that do not count", f"{EVALUATE} {{count.bin}}", "count.bin: 3 images for 2 pairs"),
    Case("packed pairs of no images", f"{EVALUATE} {{text.bin}}", "image 0: not an image"),
    Case("packed pairs missing", f"{EVALUATE} {{other}} --benchmark cfp_fp", "cfp_fp.bin: no such file"),
    Case("report below a file", f"{EVALUATE} {{lfw}} --out {{page.jpg}}/r", "cannot be written"),
    Case(
        "calibration of too little",
        "calibrate {m.onnx} --data {lfw-view1}",
        "a threshold for FAR 1e-3 needs at least 1000",
    ),
    # training
    Case(
        "unknown student", "distill facelet_m --teacher {m.onnx} --data {shards} --aligned --batch 2", "net 'facelet_m'"
    ),
    Case(
        "student scaled wrongly",
        "distill facelet_xs@resolution=100 --teacher {m.onnx} --data {shards} --aligned --batch 2",
        "net 'facelet_xs@resolution=100': resolution is '100'",
    ),
    Case(
        "unknown teacher", "distill facelet_xs --teacher nobody --data {shards} --aligned --batch 2", "model 'nobody'"
    ),
    Case("nothing to realign", "distill facelet_xs --teacher {m.onnx} --realign", "--realign: needs aligned crops"),
    Case("teacher left out", "distill facelet_xs --data {shards}", "Missing option '--teacher'"),
    Case(
        "teachers of two sizes averaged",
        f"{DISTILL} --data {{shards}} --teacher {{big.onnx}} --join average",
        "averaged",
    ),
    Case(
        "teacher smaller than student",
        "distill facelet_xs --teacher {small.onnx} --data {shards} --aligned --batch 2",
        "8",
    ),
    Case(
        "sizes that no cosine compares",
        "study transfer-size --quick --model facelet_xs --model {big.onnx}",
        "facelet_xs has 128 dimensions",
    ),
    Case(
        "a student without teachers",
        "study teachers --quick --model facelet_xs",
        "needs a student and then its teachers",
    ),
    Case("transfer set missing", f"{DISTILL} --data {{absent}}", "absent: no such transfer set"),
    Case("transfer set empty", f"{DISTILL} --data {{nothing}}", "nothing: holds neither shards"),
    Case("shard garbage", f"{DISTILL} --data {{noise.tar}}", "noise.tar: "),
    Case("shard cut off", f"{DISTILL} --data {{cut.tar}}", "cut.tar: "),
    Case("shard with broken labels", f"{DISTILL} --data {{labels.tar}}", "its .json is not JSON"),
    Case("shard with broken image", f"{DISTILL} --data {{image.tar}}", "not a readable image"),
    Case("folder with broken image", f"{DISTILL} --data {{mixed}}", "not a readable image"),
    Case(
        "too few crops",
        "distill facelet_xs --teacher {m.onnx} --data {shards} --aligned --batch 64",
        "do not fill a batch",
    ),
    Case("no epochs", f"{DISTILL} --data {{shards}} --epochs 0", "--epochs: must be above 0"),
    Case("unknown schedule", f"{DISTILL} --data {{shards}} --schedule cosin", "did you mean 'cosine'?"),
    Case(
        "warm-up of all", f"{DISTILL} --data {{shards}} --warmup 1", "--warmup: must be at least 0 and below 1, found 1"
    ),
    Case("negative geometry", f"{DISTILL} --data {{shards}} --geometry -1", "--geometry: must be at least 0, found -1"),
    Case(
        "endless photometry",
        f"{DISTILL} --data {{shards}} --photometry inf",
        "--photometry: must be at least 0, found inf",
    ),
    Case("batch of one", "distill facelet_xs --teacher {m.onnx} --data {shards} --aligned --batch 1", "--batch"),
    Case(
        "negative learning rate", f"{DISTILL} --data {{shards}} --learning-rate -1", "--learning-rate: must be above 0"
    ),
    Case("learning rate not a number", f"{DISTILL} --data {{shards}} --learning-rate nan", "--learning-rate"),
    Case("unknown recipe", f"{DISTILL} --data {{shards}} --recipe heavy", "recipe 'heavy': not known"),
    Case("unknown optimizer", f"{DISTILL} --data {{shards}} --optimizer adam", "did you mean 'adamw'"),
    Case("unknown precision", f"{DISTILL} --data {{shards}} --precision fp16", "precision 'fp16': not known"),
    Case("unknown loss", f"{DISTILL} --data {{shards}} --loss msee", "loss 'msee': not known; did you mean 'mse'?"),
    Case("margin without labels", f"{DISTILL} --data {{shards}} --loss mse+margin", "needs two labelled people"),
    Case("margin of one person", f"{DISTILL} --data {{lonely}} --loss mse+margin", "with 2 crops or more, found 1"),
    Case(
        "weight of no term", f"{DISTILL} --data {{shards}} --loss-weight 1", "--loss-weight: 'mse' has no second term"
    ),
    Case(
        "weight below zero",
        f"{DISTILL} --data {{shards}} --loss mse+relational --loss-weight -1",
        "--loss-weight: must be at least 0, found -1",
    ),
    Case("resume from nothing", f"{DISTILL} --data {{shards}} --out {{nothing}} --resume", "no checkpoint"),
    Case(
        "resume from garbage",
        f"{DISTILL} --data {{shards}} --out {{garbage-run}} --resume",
        "not a readable checkpoint",
    ),
    Case("run over a run", f"{DISTILL} --data {{shards}} --out {{garbage-run}}", "holds a run already"),
    Case("run through a file", f"{DISTILL} --data {{shards}} --out {{page.jpg}}/run", "page.jpg is no folder"),
    Case("taps of fresh views", f"{DISTILL} --data {{shards}} --tap x --tap y", "--tap: guide by the teacher"),
    Case("run into a file", f"{DISTILL} --data {{shards}} --out {{page.jpg}}", "page.jpg"),
    Case("warm start missing", f"{DISTILL} --data {{shards}} --warm-start {{absent.pt}}", "absent.pt"),
    Case(
        "warm start of another net", f"{DISTILL} --data {{shards}} --warm-start {{other.npz}}", "fit nn4_small2 alone"
    ),
    Case("one person only", f"{TRIPLET} --data {{lonely}}", "1 people with two photos or more; a batch takes 2"),
    Case("nobody labelled", f"{TRIPLET} --data {{shards}}", "0 people with two photos or more"),
    Case(
        "a batch of one photo each", f"{TRIPLET} --data {{people}} --photos 1", "--photos: must be at least 2, found 1"
    ),
    # synthetic faces
    Case(
        "synthetic faces into a file",
        "synthetic sample --out {page.jpg}",
        "page.jpg: is there already; nothing is overwritten",
    ),
    Case(
        "face model missing",
        "synthetic sample --out {made} --face-model {absent.npz}",
        "absent.npz: no such face model",
    ),
    Case("face model garbage", "synthetic sample --out {made} --face-model {noise.npz}", "noise.npz: not a face model"),
]


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG of any size, without pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = b"IDAT" + zlib.compress(b"\0" * 64)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, content, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def shard(path: Path, samples: list[tuple[str, bytes]]) -> None:
    """Writes a tar of named contents."""
    with tarfile.open(path, "w") as tar:
        for name, content in samples:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def lfw(folder: Path, pairs: str | bytes, names: tuple[str, ...] = ("Ann", "Bob")) -> None:
    """Writes a folder of two people, two photos each, and a list of pairs."""
    folder.mkdir()
    content = pairs if isinstance(pairs, bytes) else pairs.encode()
    (folder / "pairs.txt").write_bytes(content)
    for seed, name in enumerate(names):
        for number in (1, 2):
            write_photo(folder / "lfw" / name / f"{name}_{number:04d}.jpg", draw_face(10 * seed + number))


class Evil:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, ("touch should-not-exist",)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of good and bad files that the cases name."""
    folder = tmp_path_factory.mktemp("bad")
    noise = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    good = write_photo(folder / "good.png", draw_face(1)).read_bytes()
    write_photo(folder / "other" / "good.png", draw_face(2))
    jpeg = write_photo(folder / "whole.jpg", draw_face(1)).read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "stub.png").write_bytes(good[:20])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<!doctype html><title>404</title>")
    (folder / "zero.png").write_bytes(png_header(0, 0))
    (folder / "giant.png").write_bytes(png_header(60000, 60000))
    for name in ("folder.jpg", "folder.npz", "nothing", "garbage-run"):
        (folder / name).mkdir()
    write_photo(folder / "pixel.png", np.zeros((1, 1, 3), np.uint8))
    write_photo(folder / "blank.png", np.full((120, 120, 3), 128, np.uint8))
    for name in (
        "noise.jpg",
        "noise.onnx",
        "noise.bin",
        "noise.tar",
        "noise.npz",
        "bad.dat",
        "garbage-run/checkpoint.pt",
    ):
        (folder / name).write_bytes(noise)
    _models(folder)
    _benchmarks(folder)
    _transfer_sets(folder)
    return folder


def _models(folder: Path) -> None:
    photo_model(folder / "m.onnx")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "cut.onnx").write_bytes((folder / "m.onnx").read_bytes()[:2000])
    write_tiny(folder / "bare.onnx")
    cards = {
        "notjson": "{",
        "list": "[1]",
        "lacks": '{"name": "x"}',
        "extra": json.dumps({**json.loads(tiny_card().to_json()), "colour": "rgb"}),
        "wrong": json.dumps({**json.loads(tiny_card().to_json()), "color": "grey"}),
    }
    for name, text in cards.items():
        proto = tiny_onnx()
        proto.metadata_props.add(key="facelet.card", value=text)
        write_tiny(folder / f"{name}.onnx", None, proto)
    fields: dict[str, dict[str, object]] = {"leads": {"name": "../evil"}, "blind": {"scale": [0, 0, 0]}}
    for name, field in fields.items():
        proto = tiny_onnx()
        text = json.dumps({**json.loads(tiny_card().to_json()), **field})
        proto.metadata_props.add(key="facelet.card", value=text)
        write_tiny(folder / f"{name}.onnx", None, proto)
    outside = tiny_onnx()
    for initializer in outside.graph.initializer:
        set_external_data(initializer, "outside.bin")
        initializer.ClearField("raw_data")
    write_tiny(folder / "outside.onnx", None, outside)
    photo = {"height": 112, "width": 112, "embedding_size": 128}
    network = tiny_onnx(112, 112, 128)
    write_tiny(folder / "size.onnx", tiny_card(**{**photo, "height": 96, "width": 96}), network)
    write_tiny(folder / "emb.onnx", tiny_card(**{**photo, "embedding_size": 64}), network)
    write_tiny(folder / "temp.onnx", tiny_card(**photo, template="arcfase"), network)
    write_tiny(folder / "big.onnx", tiny_card(**{**photo, "embedding_size": 160}), tiny_onnx(112, 112, 160))
    write_tiny(folder / "small.onnx", tiny_card(height=112, width=112), tiny_onnx(112, 112, 8))
    odd = tiny_onnx(112, 112, 128)
    odd.graph.node[0].op_type = "NoSuchOp"
    write_tiny(folder / "op.onnx", tiny_card(**photo), odd)
    for name, content in {"net": "<net/>", "bad": "<html/>", "hollow": '<net version="11"/>'}.items():
        (folder / f"{name}.xml").write_text(content)
        sidecar_path(folder / f"{name}.xml").write_text(tiny_card(**photo).to_json())
        if name != "net":
            (folder / f"{name}.bin").write_bytes(b"0")
    sidecar_path(folder / "bad.dat").write_text(
        tiny_card(height=150, width=150, embedding_size=128, color="rgb").to_json()
    )


def _benchmarks(folder: Path) -> None:
    lfw(folder / "lfw", PAIRS)
    lfw(folder / "lfw-empty", "")
    lfw(folder / "lfw-head", "many pairs\n")
    lfw(folder / "lfw-few", "\n".join(PAIRS.splitlines()[:3]))
    lfw(folder / "lfw-short", PAIRS.replace("Ann\t1\tBob\t1", "Ann\t1"))
    lfw(folder / "lfw-number", PAIRS.replace("Ann\t1\t2", "Ann\tone\t2"))
    lfw(folder / "lfw-outside", PAIRS.replace("Ann\t1\t2", "../Ann\t1\t2"))
    lfw(folder / "lfw-binary", b"\xff\xfe\x00\x80pairs")
    lfw(folder / "lfw-bare", PAIRS, ())
    lfw(folder / "lfw-archive", PAIRS, ())
    (folder / "lfw-archive" / "lfw.tar.gz").write_bytes(b"\x1f\x8b not really")
    lfw(folder / "lfw-lacks", PAIRS)
    (folder / "lfw-lacks" / "lfw" / "Bob" / "Bob_0002.jpg").unlink()
    lfw(folder / "lfw-broken", PAIRS)
    (folder / "lfw-broken" / "lfw" / "Bob" / "Bob_0002.jpg").write_text("<html>")
    lfw(folder / "lfw-view1", PAIRS)
    for name in ("pairsDevTrain.txt", "pairsDevTest.txt"):
        (folder / "lfw-view1" / name).write_text("1\nAnn\t1\t2\nAnn\t1\tBob\t1\n")
    crop = write_photo(folder / "crop.jpg", draw_face(1, 112)).read_bytes()
    (folder / "evil.bin").write_bytes(pickle.dumps(([Evil(), crop], [True])))
    (folder / "count.bin").write_bytes(pickle.dumps(([crop] * 3, [True, False])))
    (folder / "text.bin").write_bytes(pickle.dumps(([b"text"] * 4, [True, False])))


def _transfer_sets(folder: Path) -> None:
    crops = [write_photo(folder / "crops" / f"{n}.png", draw_face(n, 128)).read_bytes() for n in range(6)]
    (folder / "shards").mkdir()
    shard(folder / "shards" / "a.tar", [(f"{n}.png", crop) for n, crop in enumerate(crops)])
    whole = (folder / "shards" / "a.tar").read_bytes()
    (folder / "cut.tar").write_bytes(whole[: len(whole) // 2 + 100])
    shard(folder / "labels.tar", [("0.png", crops[0]), ("0.json", b"{'identity'")])
    shard(folder / "image.tar", [("0.png", b"not a png"), ("0.json", b"{}")])
    write_photo(folder / "mixed" / "a" / "0.png", draw_face(0, 128))
    (folder / "mixed" / "a" / "1.png").write_text("<html>")
    for n in range(8):
        write_photo(folder / "lonely" / "ann" / f"{n}.png", draw_face(n, 128))
        write_photo(folder / "people" / f"person{n // 4}" / f"{n}.png", draw_face(n, 128))
    (folder / "other.npz").write_bytes(b"PK")


def expand(arguments: str, folder: Path) -> list[str]:
    """The words of a command, `{name}` standing for a path in the folder of bad files."""
    return [word.replace("{", f"{folder}/").replace("}", "") for word in arguments.split(" ")]


def check(ended: Ended, case: Case) -> None:
    """Holds what every refusal must be."""
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("facelet: ")
    assert case.words in lines[0], lines[0]
    assert "Traceback" not in ended.err
    assert ended.code == 2


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_one_clear_line(cli: Cli, bad: Path, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if ".xml" in case.arguments:
        pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)
    check(cli(*expand(case.arguments, bad)), case)
    assert not list(tmp_path.rglob("should-not-exist"))
    assert not list(tmp_path.rglob("*.onnx")), "a refused run left a model behind"


SEPARATE = [
    case
    for case in CASES
    if case.name
    in (
        "photo cut off",
        "photo without a face",
        "unknown command",
        "network cannot run",
        "IR garbage",
        "IR without layers",
    )
    or case.name in ("dlib model garbage", "detector file garbage", "packed pairs garbage", "shard cut off")
]


@pytest.mark.parametrize("case", SEPARATE, ids=lambda case: case.name.replace(" ", "-"))
def test_one_clear_line_from_a_process_of_its_own(bad: Path, case: Case, tmp_path: Path) -> None:
    """C++ libraries write to the process's own standard error, past Python; here that would show."""
    command = [sys.executable, "-m", "facelet", *expand(case.arguments, bad)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    check(Ended(ended.returncode, ended.stdout, ended.stderr), case)


def test_a_checkpoint_of_another_run_is_refused(cli: Cli, bad: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {"identity": "another", "step": 1, "modules": {}, "optimizer": {}, "average": None, "torch_rng": None}
    torch.save(state, tmp_path / "checkpoint.pt")
    arguments = expand(f"{DISTILL} --data {{shards}} --resume", bad)
    check(cli(*arguments, "--out", tmp_path), Case("", "", "made by another run"))
    torch.save(
        {"modules": {"student.x": torch.zeros(1)}} | {k: v for k, v in state.items() if k != "modules"},
        tmp_path / "w.pt",
    )
    arguments = expand(f"{DISTILL} --data {{shards}}", bad)
    check(cli(*arguments, "--warm-start", tmp_path / "w.pt", "--out", tmp_path / "r"), Case("", "", "another net"))
