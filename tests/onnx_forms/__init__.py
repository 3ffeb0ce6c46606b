"""Small ONNX nets in the forms that exporters write, opset 7 to the newest: `FORMS` by name."""

from onnx_forms import arithmetic, files, heads, moves, opsets, windows  # noqa: F401  # each adds its own
from onnx_forms.net import FORMS, OPSETS, Form

__all__ = ["FORMS", "OPSETS", "Form"]
