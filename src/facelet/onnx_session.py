"""onnxruntime on the CPU, set so that integer networks give the same integers on every processor."""

from __future__ import annotations

from typing import Any


def open_session(model: str | bytes, threads: int | None = None, *, integers: bool = True) -> Any:
    """An `onnxruntime.InferenceSession`.

    On x86 processors without VNNI onnxruntime adds pairs of 8-bit products into 16 bits, which overflow, unless it is
    set to be precise.

    Args:
        model: a file's path, or the bytes of one.
        threads: that share one network; None leaves the choice to onnxruntime.
        integers: run int8 networks on integers; or on floats that hold them, which is faster where a layer has slopes.

    Raises:
        Exception: onnxruntime refuses the model; its exceptions share no public parent.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not integers:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
