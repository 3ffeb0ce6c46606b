"""Invariant: who asks for bfloat16 on a processor without it is told what it costs."""

from __future__ import annotations

import pytest
import torch

from facelet.cli.output import Output
from facelet.jobs.training import note_precision
from facelet.nets.bfloat16 import has_bfloat16


@pytest.fixture(params=[False, True], ids=["without", "with"])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor has it, as torch tells."""
    found = {"avx2": True, "avx512_bf16": request.param, "architecture": "x86_64"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    return bool(request.param)


def test_intel_amd_and_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, wanted in [
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({"neon": True}, False),
    ]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda told=told: told)
        assert has_bfloat16() == wanted


@pytest.mark.parametrize(("precision", "device"), [("bf16", "cpu"), ("bf16", "cuda"), ("fp32", "cpu")])
def test_the_note(there: bool, precision: str, device: str, capsys: pytest.CaptureFixture[str]) -> None:
    note_precision(precision, device, Output())
    told = "fp32 is several times faster" in capsys.readouterr().err.replace("\n", " ")
    assert told == (not there and (precision, device) == ("bf16", "cpu"))
