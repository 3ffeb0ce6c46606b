"""Kernel templates and knobs -> OpenCL text: one function a kernel, then what launches it, layer by layer or as one."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from facelet.opencl.program import Kernel, Program

FOLDER = Path(__file__).parent / "kernels"


@cache
def template(name: str) -> str:
    """The text of a kernel template."""
    return (FOLDER / f"{name}.cl").read_text(encoding="utf-8")


@cache
def argument_names(name: str) -> tuple[str, ...]:
    """What the line `// Arguments:` of a template lists."""
    found = re.search(r"^// Arguments: (.+)$", template(name), re.MULTILINE)
    if found is None:
        raise ValueError(f"{name}.cl: has no line of arguments")
    return tuple(found[1].split())


def source(program: Program, *, whole: bool) -> str:
    """The text of a program.

    Args:
        whole: one kernel `net` that runs all steps, instead of one kernel per step.
    """
    config = program.config
    head = [f"#define BLOCK {config.block}", f"#define VLOAD {int(config.vload)}"]
    preludes = [template("prelude")]
    if any(kernel.template.startswith("int8") for kernel in program.kernels):
        preludes.append(template("int8_prelude"))
    parts = ["\n".join(head), *preludes, *(_function(kernel) for kernel in program.kernels)]
    if whole:
        cases = " ".join(_case(index, kernel) for index, kernel in enumerate(program.kernels))
        parts.append(template("net").replace("                CASES", cases))
    else:
        parts += [_entry(kernel) for kernel in program.kernels]
    return "\n".join(parts)


def _function(kernel: Kernel) -> str:
    names = argument_names(kernel.template)
    unpack = ", ".join(f"{name} = a[{index}]" for index, name in enumerate(names))
    knobs = [("NAME", kernel.name), ("UNPACK", f"const int {unpack};"), *kernel.knobs]
    lines = [f"#define {name} {value}" for name, value in knobs]
    body = template(kernel.template)
    if _seen_before(kernel):
        body = re.sub(r"^//.*\n", "", body, flags=re.MULTILINE)
    return "\n".join([*lines, body, *(f"#undef {name}" for name, _ in knobs)])


def _seen_before(kernel: Kernel) -> bool:
    """Whether the explanation of its template stands above already; names end in the number of the variant."""
    return not kernel.name.endswith("_0")


def _entry(kernel: Kernel) -> str:
    return (
        f"__attribute__((reqd_work_group_size(1, 1, 1))) __kernel void run_{kernel.name}(BUFFERS, const int at, "
        "const int input_at, const int output_at) { "
        f"{kernel.name}(get_global_id(0), get_global_id(1), get_global_id(2), arena, input + input_at, "
        "output + output_at, constants, a + at); }"
    )


def _case(index: int, kernel: Kernel) -> str:
    return (
        f"\n            case {index}: for (int g2 = 0; g2 < t[3]; g2++) for (int g1 = 0; g1 < t[2]; g1++) "
        f"for (int g0 = 0; g0 < t[1]; g0++) {kernel.name}(g0, g1, g2, arena, input, output, constants, a); break;"
    )
