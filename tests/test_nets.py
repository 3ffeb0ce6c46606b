"""Golden sizes of the nets, and torch against onnxruntime for the exported files (oracle)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from facelet.errors import MissingFileError, ModelError, UnknownNameError
from facelet.model import Card
from facelet.nets import NETS, build_net
from facelet.nets.from_model import start_from_model
from facelet.nets.layers import CrossChannelLRN, L2Normalize, L2Pool2d
from facelet.nets.mobilenet_v2 import round_channels
from facelet.nets.nn4_small2 import NN4Small2
from facelet.nets.relu6 import ReLU6
from facelet.nets.size import count_learnable, count_macs, count_parameters
from facelet.nets.warm_start import warm_start
from facelet.train.export import export_onnx


def randomized(net: nn.Module) -> nn.Module:
    """Gives every parameter and statistic a random value, so that no identity hides a fault."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    assert tensor is not None
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    assert tensor is not None
                    tensor.normal_(0, 0.2, generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.3, 0.5, generator=generator)
    return net.eval()


def test_published_parameter_counts() -> None:
    assert count_learnable(build_net("nn4_small2")) == 3_733_968
    assert count_parameters(build_net("mobilenet_v2_050")) == 870_192
    assert count_parameters(build_net("mobilenet_v2_035")) == 574_176


@pytest.mark.parametrize(("name", "parameters", "macs"), [("facelet_s", 870_000, 60e6), ("facelet_xs", 500_000, 40e6)])
def test_own_students_keep_their_budget(name: str, parameters: int, macs: float) -> None:
    net = build_net(name)
    assert count_parameters(net) <= parameters
    assert count_macs(net, 96) <= macs


def test_macs_of_a_layer_by_hand() -> None:
    # 8 outputs of 5x5, each of 3 x 3x3 inputs; then 4 outputs of 200 inputs
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(200, 4))
    assert count_macs(net, 7) == 8 * 25 * 27 + 200 * 4


@pytest.mark.parametrize("name", sorted(NETS))
def test_embeddings_are_unit_vectors_and_a_batch_equals_its_items(name: str) -> None:
    net = randomized(build_net(name))
    x = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        batch = net(x)
        single = torch.cat([net(x[i : i + 1]) for i in range(3)])
    assert batch.shape == (3, 128)
    torch.testing.assert_close(batch.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(batch, single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NETS))
def test_exported_file_agrees_with_torch(name: str, tmp_path: Path) -> None:
    net = randomized(build_net(name))
    path = tmp_path / "net.onnx"
    card = Card(name, 96, 96, "arcface", 128)
    export_onnx(net, card, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = torch.randn(5, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = net(x).numpy()
    for n in (1, 5):
        (found,) = session.run(None, {"pixels": x[:n].numpy()})
        np.testing.assert_allclose(found, expected[:n], atol=2e-6)


def test_exported_nn4_shows_what_pruning_removes_and_no_path_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(build_net("nn4_small2"), Card("nn4_small2", 96, 96, "arcface", 128), path)
    ops = [node.op_type for node in onnx.load(path).graph.node]
    assert ops.count("LRN") == 2
    assert ops.count("Sqrt") == 3
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        tensor.raw_data = b""
    text = proto.SerializeToString()
    assert b"site-packages" not in text
    assert b".py" not in text


def test_nn4_without_lrn_and_power_layers_takes_the_same_weights() -> None:
    full = randomized(NN4Small2())
    plain = NN4Small2(lrn=False, power_pool=False).eval()
    plain.load_state_dict(full.state_dict())
    assert not any(isinstance(m, CrossChannelLRN | L2Pool2d) for m in plain.modules())
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert not torch.allclose(full(x), plain(x), atol=1e-4)


def test_lrn_agrees_with_torch() -> None:
    x = torch.randn(2, 16, 5, 5) * 40
    torch.testing.assert_close(CrossChannelLRN()(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)(x), rtol=1e-5, atol=1e-5)
    general = CrossChannelLRN(3, 1e-3, 0.6, 2.0)
    torch.testing.assert_close(general(x), nn.LocalResponseNorm(3, 1e-3, 0.6, 2.0)(x), rtol=1e-5, atol=1e-5)


def test_l2_pool_agrees_with_torch() -> None:
    x = torch.rand(2, 4, 9, 9)
    torch.testing.assert_close(L2Pool2d(3, 3)(x), nn.LPPool2d(2, 3, 3)(x))


def test_relu6_and_its_gradient_agree_with_torch() -> None:
    x = torch.tensor([-1.0, 0.5, 3.0, 6.5, 5.999], requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weight = torch.arange(1.0, 6.0)
    (ReLU6()(x) * weight).sum().backward()
    (nn.ReLU6()(y) * weight).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(ReLU6()(x), nn.ReLU6()(y))


def test_zero_vector_stays_finite() -> None:
    assert torch.isfinite(L2Normalize()(torch.zeros(1, 4))).all()


@pytest.mark.parametrize(("channels", "rounded"), [(16.0, 16), (11.2, 16), (8.4, 8), (33.6, 32), (5.6, 8)])
def test_channels_round_as_keras_rounds_them(channels: float, rounded: int) -> None:
    # nearest multiple of 8, one more where that loses over a tenth: 11.2 -> 8 < 10.08 -> 16
    assert round_channels(channels) == rounded


def test_unknown_net_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'facelet_xs'"):
        build_net("facelet_xz")


def test_warm_start_fills_whole_units_and_names_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "tensors.npz"
    tensors: dict[str, Any] = {
        "conv1_w": np.ones((64, 3, 7, 7), np.float32).ravel(),
        "conv1_b": np.zeros(64, np.float32),
        **{f"bn1_{part}": np.full(64, 2.0, np.float32) for part in "wbmv"},
        "conv2_w": np.ones(64 * 64, np.float32),  # its batch norm is missing, so it stays fresh
        "dense_w": np.ones((128, 736), np.float32).ravel(),
        "dense_b": np.zeros(128, np.float32),
    }
    np.savez(path, **tensors)
    net = NN4Small2()
    fresh = warm_start(net, path)
    assert "conv1" not in fresh
    assert "dense" not in fresh
    assert {"conv2", "conv3", "3a.5x5.1", "5b.1x1"} <= set(fresh)
    # the file's kernel takes pixels in [0, 1]; the net's in [-1, 1]: w (x + 1) / 2 = (w / 2) x + w / 2
    state = net.state_dict()
    torch.testing.assert_close(state["conv1.0.weight"], torch.full((64, 3, 7, 7), 0.5))
    torch.testing.assert_close(state["conv1.0.bias"], torch.full((64,), 147 / 2))


def test_warm_start_refuses_a_tensor_of_the_wrong_size(tmp_path: Path) -> None:
    path = tmp_path / "tensors.npz"
    np.savez(path, dense_w=np.ones(5, np.float32), dense_b=np.zeros(128, np.float32))
    with pytest.raises(ModelError, match="dense_w has 5 values"):
        warm_start(NN4Small2(), path)
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ModelError, match=r"cut\.npz: not an \.npz of tensors"):
        warm_start(NN4Small2(), tmp_path / "cut.npz")
    (tmp_path / "text.npz").write_text("no tensors")
    with pytest.raises(ModelError, match="not an"):
        warm_start(NN4Small2(), tmp_path / "text.npz")
    with pytest.raises(MissingFileError):
        warm_start(NN4Small2(), tmp_path / "none.npz")


@pytest.mark.parametrize("name", NETS)
def test_training_goes_on_from_an_exported_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    learned = build_net(name)
    size = int(learned.input_size)  # type: ignore[arg-type]
    pixels = torch.rand(24, 3, size, size) * 2 - 1
    with torch.no_grad():
        for parameter in learned.parameters():
            parameter.mul_(1 + 0.2 * torch.rand_like(parameter)).add_(0.01 * torch.rand_like(parameter))
        learned.train()(pixels)  # batch norms learn statistics
        expected = learned.eval()(pixels)
    card = Card(name=name, height=size, width=size, template="arcface", embedding_size=128)
    export_onnx(learned, card, tmp_path / "model.onnx")
    net = build_net(name)
    before = [m.weight.detach().flatten(1).norm(dim=1).mean() for m in net.modules() if isinstance(m, nn.Conv2d)]
    start_from_model(net, tmp_path / "model.onnx", pixels)
    with torch.no_grad():
        np.testing.assert_allclose(net.eval()(pixels), expected, atol=1e-5)
        assert torch.nn.functional.cosine_similarity(net.train()(pixels), expected).min() > 0.99  # as its norms fit
    after = [m.weight.detach().flatten(1).norm(dim=1).mean() for m in net.modules() if isinstance(m, nn.Conv2d)]
    np.testing.assert_allclose(after, before, rtol=1e-3)
    other = build_net("facelet_xs" if name != "facelet_xs" else "facelet_s")
    with pytest.raises(ModelError, match="is it the same net"):
        start_from_model(other, tmp_path / "model.onnx", pixels)
