"""The shipped files: what their cards say is true of them, and they tell synthetic people apart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from facelet.canvas import embed_canvas
from facelet.data.synthetic import synthetic_pairs
from facelet.embedder import Embedder
from facelet.evaluate.report import verify_pairs
from facelet.model_files import SHIPPED_MODELS, load_model
from facelet.nets import NETS, build_net
from facelet.nets.size import count_macs, count_parameters

DOCS = Path(__file__).parents[1] / "docs"


def test_every_net_is_shipped() -> None:
    assert {name.removesuffix("_int8") for name in SHIPPED_MODELS} == set(NETS)


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_card_is_complete_and_true(name: str) -> None:
    card = load_model(name).card
    net = build_net(name.removesuffix("_int8"))
    assert card.name == name
    assert card.parameters == count_parameters(net)
    assert card.macs == count_macs(net, card.height)
    assert set(card.thresholds) == {"1e-2", "1e-3"}
    assert card.thresholds["1e-3"] < card.thresholds["1e-2"]
    for text in (card.teacher, card.data, card.recipe, card.commit, card.licence):
        assert text
    assert not re.search(r"(^|[ =])/(?!features/)", card.recipe), "no path of a machine"


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_pages_and_recorded_reports_agree_with_the_card(name: str) -> None:
    model = load_model(name)
    assert f"`{model.sha256}`" in (DOCS / "models" / f"{name}.md").read_text()
    for detector in ("dlib_refined", "yunet_refined", "dlib", "yunet"):
        report = json.loads((DOCS / "results" / f"{name}-lfw-view2-{detector}.json").read_text())
        assert model.card.metrics[f"lfw_view2_{detector}"] == pytest.approx(report["accuracy"], abs=1e-6)
        assert report["n_pairs"] == 6000
        assert report["flip"] is False


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_tells_synthetic_people_apart(name: str) -> None:
    pairs, crops = synthetic_pairs(200, seed=0)
    report = verify_pairs(embed_canvas(Embedder.load(name, threads=1), crops), pairs)
    assert report.auc > 0.85
