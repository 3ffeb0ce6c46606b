"""Hand-computed means of tiny files, and one line for what has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conftest import Ended
from facelet.data.heldout import HELDOUT_NOTE
from facelet.model_average import average_models
from facelet.model_files import load_model
from tiny_models import tiny_card, tiny_onnx, weights, write_tiny


def files(folder: Path) -> list[Path]:
    return [
        write_tiny(folder / f"{seed}.onnx", tiny_card(recipe=f"run {seed}"), tiny_onnx(seed=seed)) for seed in range(3)
    ]


def test_weights_are_the_mean_and_the_card_tells_of_all(cli: Callable[..., Ended], tmp_path: Path) -> None:
    out = tmp_path / "mean.onnx"
    assert cli("average", *files(tmp_path), "--out", out).code == 0
    (matrix,) = onnx.load(str(out)).graph.initializer
    expected = (weights(8, 0).astype(np.float64) + weights(8, 1) + weights(8, 2)) / 3
    np.testing.assert_allclose(numpy_helper.to_array(matrix), expected, atol=1e-7)
    card = load_model(out).card
    assert card.recipe == "run 0; run 1; run 2; facelet average 0.onnx 1.onnx 2.onnx"
    assert card.thresholds == {}
    assert card.metrics == {}


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ((), "alone has no mean"),
        (("wide.onnx",), "not the net of"),
        (("long.onnx",), "tensor matrix is not alike"),
        (("nan.onnx",), "are NaN or infinite"),
        (("high.onnx",), "high.onnx: its card has another height than that of 0.onnx"),
        (("other.onnx",), "other.onnx: its card has another template than that of 0.onnx"),
        (("absent.onnx",), "absent.onnx: no such model file"),
        (("1.onnx", "--out", "mean.txt"), "give a file that ends in .onnx"),
        (("dlib_resnet",), "only .onnx files can be averaged"),
    ],
)
def test_what_has_no_mean_is_one_line(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files(tmp_path)
    write_tiny(tmp_path / "wide.onnx", tiny_card(width=24), tiny_onnx(width=24))
    write_tiny(tmp_path / "other.onnx", tiny_card(template="dlib"), tiny_onnx(seed=1))
    write_tiny(tmp_path / "long.onnx", tiny_card(embedding_size=16), tiny_onnx(embedding_size=16))
    write_tiny(tmp_path / "high.onnx", tiny_card(height=32), tiny_onnx(seed=1))
    empty = tiny_onnx(seed=1)
    empty.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full_like(weights(8, 1), np.nan), "matrix"))
    write_tiny(tmp_path / "nan.onnx", tiny_card(), empty)
    ended = cli("average", "0.onnx", *others)
    assert ended.code == 2
    assert words in ended.err
    assert ended.err.count("\n") == 1


def test_integers_have_no_mean(cli: Callable[..., Ended], tmp_path: Path) -> None:
    out = tmp_path / "mean.onnx"
    ended = cli("average", "facelet_xs_int8", "facelet_s_int8", "--out", out)
    assert ended.code == 2
    assert "not the net of" in ended.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((f"a, {HELDOUT_NOTE}", f"b, {HELDOUT_NOTE}"), f"a, b, {HELDOUT_NOTE}"),
        ((f"a, {HELDOUT_NOTE}", "a, b"), "a, b"),
        (("", f"a, {HELDOUT_NOTE}"), "a"),
    ],
)
def test_the_card_names_all_data_and_promises_what_holds_for_all(
    tmp_path: Path, data: tuple[str, ...], expected: str
) -> None:
    models = [
        write_tiny(tmp_path / f"{seed}.onnx", tiny_card(data=text, teacher=f"t{seed}"), tiny_onnx(seed=seed))
        for seed, text in enumerate(data)
    ]
    card = average_models(models, tmp_path / "mean.onnx")
    assert (card.data, card.teacher) == (expected, "t0; t1")
