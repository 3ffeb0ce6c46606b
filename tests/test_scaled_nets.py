"""Invariants of students scaled by name, and torch against onnxruntime for their exported files (oracle)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from conftest import Ended
from drawn_faces import write_photo
from facelet.cli.output import Output
from facelet.errors import InputError, UnknownNameError
from facelet.jobs.training import note_resolution
from facelet.model import Card
from facelet.model_files import load_model
from facelet.nets import build_net
from facelet.nets.facelet_students import LAYOUTS, FaceletNet
from facelet.nets.from_model import start_from_model
from facelet.nets.mobilenet_v2 import WIDTHS, MobileNetV2
from facelet.nets.scaled import at_resolution, base_name, parse_scale, scaled_layout, scaled_net
from facelet.nets.size import count_macs, count_parameters
from facelet.train.distill import HINTS
from facelet.train.export import export_onnx
from test_nets import randomized
from tiny_models import photo_model, tiny_card, tiny_onnx, write_tiny


def cost(name: str) -> tuple[int, int]:
    net = build_net(name)
    return count_parameters(net), count_macs(net, int(net.input_size))  # type: ignore[arg-type]


@pytest.mark.parametrize("base", LAYOUTS)
def test_factors_that_change_nothing_give_the_base(base: str) -> None:
    same = "width=1,depth=1.0,resolution=96,embedding=128"
    assert cost(f"{base}@{same}") == cost(base)
    assert scaled_layout(LAYOUTS[base], parse_scale(same, base)) == LAYOUTS[base]


@pytest.mark.parametrize("base", LAYOUTS)
@pytest.mark.parametrize(
    ("factor", "values"),
    [
        ("width", (0.25, 0.5, 0.75, 1, 1.5)),
        ("depth", (0.25, 0.5, 1, 1.5)),
        ("resolution", (48, 64, 80, 96, 112, 128)),
        ("embedding", (16, 32, 64, 128, 256)),
    ],
)
def test_parameters_and_macs_grow_with_every_factor(base: str, factor: str, values: tuple[float, ...]) -> None:
    costs = [cost(f"{base}@{factor}={value}") for value in values]
    for what in (0, 1):
        figures = [each[what] for each in costs]
        assert figures == sorted(set(figures))


def test_another_resolution_leaves_the_other_factors() -> None:
    assert at_resolution("mobilenet_v2_035", 128) == "mobilenet_v2_035@resolution=128"
    name = "facelet_xs@width=0.5,resolution=64,embedding=64"
    assert at_resolution(name, 112) == "facelet_xs@width=0.5,embedding=64,resolution=112"
    assert at_resolution(at_resolution(name, 112), 80) == "facelet_xs@width=0.5,embedding=64,resolution=80"


@pytest.mark.parametrize("base", WIDTHS)
def test_a_mobilenet_has_as_many_parameters_at_any_resolution(base: str) -> None:
    costs = [cost(f"{base}@resolution={side}") for side in (48, 64, 80, 96, 112, 128)]
    assert costs[3] == cost(base)
    assert {parameters for parameters, _ in costs} == {costs[3][0]}
    assert [macs for _, macs in costs] == sorted({macs for _, macs in costs})


@pytest.mark.parametrize("side", [80, 112])
def test_a_mobilenet_pools_the_whole_of_its_last_map(side: int) -> None:
    net = build_net(f"mobilenet_v2_035@resolution={side}").eval()
    maps: list[torch.Tensor] = []
    net.get_submodule("pool").register_forward_hook(lambda _pool, inputs, out: maps.extend((inputs[0], out)))
    with torch.no_grad():
        net(torch.rand(1, 3, side, side))
    torch.testing.assert_close(maps[1][:, :, 0, 0], maps[0].mean(dim=(2, 3)))


def test_channels_are_multiples_of_eight_and_no_stage_is_empty() -> None:
    layout = scaled_layout(LAYOUTS["facelet_xs"], parse_scale("width=0.3,depth=0.25", "x"))
    # 16, 32, 64, 80, 128, 160, 96, 256, 192, 384 times 0.3, to the nearest multiple of 8 above nine tenths
    assert (layout.stem, layout.features) == (8, 112)
    assert [(s.channels, s.first_hidden, s.hidden, s.repeats) for s in layout.stages] == [
        (16, 24, 24, 1),
        (24, 40, 48, 1),
        (32, 80, 56, 1),
    ]


@pytest.mark.parametrize(
    ("name", "size", "embedding"),
    [
        ("facelet_xs@width=0.5,depth=0.5,resolution=64,embedding=64", 64, 64),
        ("facelet_s@embedding=256,resolution=128,depth=0.25,width=0.25", 128, 256),
        ("mobilenet_v2_035@resolution=112", 112, 128),  # the last map is rounded up
    ],
)
def test_exported_file_agrees_with_torch(name: str, size: int, embedding: int, tmp_path: Path) -> None:
    net = randomized(build_net(name))
    assert isinstance(net, FaceletNet | MobileNetV2)
    assert (net.input_size, net.embedding_size) == (size, embedding)
    export_onnx(net, Card(name, size, size, "arcface", embedding), tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = net(x).numpy()
    assert expected.shape == (3, embedding)
    for n in (1, 3):
        (found,) = session.run(None, {"pixels": x[:n].numpy()})
        np.testing.assert_allclose(found, expected[:n], atol=2e-6)


@pytest.mark.parametrize("base", LAYOUTS)
def test_hints_of_the_base_are_layers_of_the_shallowest(base: str) -> None:
    name = f"{base}@depth=0.25"
    assert base_name(name) == base == base_name(base)
    assert set(HINTS[base_name(name)]) <= {layer for layer, _ in scaled_net(name).named_modules()}


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("facelet_xs@", InputError, "'' is no factor"),
        ("facelet_xs@width", InputError, "'width' is no factor"),
        ("facelet_xs@width=0.5,", InputError, "'' is no factor"),
        ("facelet_xs@widht=0.5", UnknownNameError, "did you mean 'width'"),
        ("facelet_xs@width=0.5,width=0.5", InputError, "width is given twice"),
        ("facelet_xs@width=wide", InputError, r"width is 'wide'; expected a number in 0.25..4"),
        ("facelet_xs@width=nan", InputError, "expected a number"),
        ("facelet_xs@depth=0", InputError, "expected a number"),
        ("facelet_xs@resolution=100", InputError, "expected a multiple of 16 in 48..128"),
        ("facelet_xs@resolution=80.0", InputError, "expected a multiple of 16"),
        ("facelet_xs@embedding=264", InputError, "expected a multiple of 8 in 16..256"),
        ("facelet_xz@width=0.5", UnknownNameError, "did you mean 'facelet_xs'"),
        ("nn4_small2@width=0.5", UnknownNameError, "known: facelet_s, facelet_xs, mobilenet"),
        ("mobilenet_v2_050@width=0.5", InputError, "of mobilenet_v2_050 the resolution alone can be changed"),
        ("mobilenet_v2_035@resolution=112,embedding=64", InputError, "the resolution alone"),
    ],
)
def test_a_malformed_name_is_one_line(name: str, error: type[InputError], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        build_net(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [80, 128])
def test_a_head_is_stretched_to_another_resolution(side: int, tmp_path: Path) -> None:
    learned = randomized(build_net("facelet_xs"))
    export_onnx(learned, Card("facelet_xs", 96, 96, "arcface", 128), tmp_path / "net.onnx")
    net = build_net(f"facelet_xs@resolution={side}")
    start_from_model(net, tmp_path / "net.onnx", torch.rand(4, 3, side, side))
    told: dict[float, list[NDArray[np.float32]]] = {0.0: [], 1.0: []}
    with torch.no_grad():
        for ramp, answers in told.items():
            for each, width in ((learned, 6), (net.eval(), side // 16)):
                row = 1 + ramp * (torch.arange(width) + 0.5) / width
                answers.append(each.get_submodule("pool")(row.expand(1, 384, width, width)).flatten().numpy())
    np.testing.assert_allclose(told[0.0][0], told[0.0][1], atol=2e-5)  # a map that is the same everywhere
    slopes = [rising - even for even, rising in zip(*told.values(), strict=True)]
    assert np.corrcoef(slopes)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("student", "seen", "card", "told"),
    [
        ("mobilenet_v2_035", 96, True, False),
        ("mobilenet_v2_035", 112, True, True),
        ("mobilenet_v2_035@resolution=64", 96, True, True),
        ("mobilenet_v2_035", 112, False, False),
    ],
)
def test_a_warm_start_from_another_resolution_is_told(
    student: str, seen: int, card: bool, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny(tmp_path / "file.onnx", tiny_card(height=seen, width=seen), tiny_onnx(seen, seen, 128))
    if not card:
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
    note_resolution(path, student, Output())
    said = capsys.readouterr().err.replace("\n", " ")
    assert (f"mobilenet_v2_035@resolution={seen} continues from it" in said) == told
    assert bool(said) == told


def test_a_scaled_student_is_distilled_with_its_card(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    name = "facelet_xs@width=0.25,depth=0.25,resolution=48,embedding=16"
    teacher = photo_model(tmp_path / "t.onnx")
    rng = np.random.default_rng(0)
    for place in range(9):
        write_photo(tmp_path / "crops" / f"{place}.png", rng.integers(0, 256, (128, 128, 3), np.uint8))
    options = ["--data", tmp_path / "crops", "--aligned", "--batch", 4, "--threads", 1, "--quiet"]
    options += ["--teacher", teacher, "--epochs", 1]
    ended = cli("distill", name, *options, "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    card = load_model(tmp_path / "run" / "model.onnx").card
    assert (card.name, card.height, card.width, card.embedding_size) == (name, 48, 48, 16)
    assert (card.parameters, card.macs) == cost(name)
    longer = cli("distill", "facelet_xs@embedding=136", *options, "--out", tmp_path / "longer")
    assert (longer.code, longer.err.count("\n")) == (2, 1)
    assert "128 dimensions cannot teach a student of 136" in longer.err
