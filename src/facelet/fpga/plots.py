"""Pictures of the explorer and the report: the Pareto front, roofline, resource bars, time per layer; PNG bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facelet.evaluate.png import new_figure, png_bytes
from facelet.fpga.cost import DENSE, DEPTHWISE, POOL
from facelet.fpga.explore import Exploration
from facelet.fpga.report import DesignReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import PercentFormatter

COLOURS = {DENSE: "tab:blue", DEPTHWISE: "tab:orange", POOL: "tab:green"}


def pareto_png(found: Exploration, model: str) -> bytes:
    """Time per frame over the largest share of a resource: what fits, the front, the fastest."""
    figure = new_figure(7, 4.6)
    axis = figure.add_subplot()
    axis.scatter([c.share for c in found.fitting], [c.ms for c in found.fitting], s=6, c="#c3c9d0", label="fits")
    axis.step(
        [c.share for c in found.pareto],
        [c.ms for c in found.pareto],
        where="pre",
        color="tab:blue",
        marker="o",
        ms=4,
        label="no other is both faster and smaller",
    )
    best = found.best
    label = f"fastest: {best.config.vec_size} x {best.config.lane_num}, {best.ms:.2f} ms"
    axis.plot(best.share, best.ms, "*", color="tab:red", ms=15, label=label)
    axis.set(
        xlabel="largest share of a resource's usable part (estimated)",
        ylabel="milliseconds per frame (estimated, log)",
        title=f"{model} on {found.board.name}; what binds: {found.binding}",
        yscale="log",
    )
    axis.xaxis.set_major_formatter(_percent(decimals=0))
    _plain_log(axis)
    axis.legend()
    return png_bytes(figure)


def report_png(report: DesignReport) -> bytes:
    """Roofline and resource bars above, time per layer below."""
    figure = new_figure(12, 8.5)
    grid = figure.add_gridspec(2, 2, width_ratios=(2, 1))
    _roofline(figure.add_subplot(grid[0, 0]), report)
    _resources(figure.add_subplot(grid[0, 1]), report)
    _layers(figure.add_subplot(grid[1, :]), report)
    figure.suptitle(f"{report.model} on {report.board.name}: {report.config} (all figures estimated)", parse_math=False)
    return png_bytes(figure)


def _roofline(axis: Axes, report: DesignReport) -> None:
    clock, gbs = report.board.clock_mhz, report.board.gbs
    peak = report.config.macs_per_cycle * clock / 1e3
    for kind, colour in COLOURS.items():
        costs = [cost for cost in report.layers if cost.shape.kind == kind and cost.shape.macs]
        if costs:
            intensity = [cost.shape.macs / cost.bytes for cost in costs]
            speed = [cost.shape.macs / report.layer_ms(cost) / 1e6 for cost in costs]
            axis.scatter(intensity, speed, s=22, c=colour, label=kind)
    low, high = axis.get_xlim()
    corner = peak / gbs
    low, high = max(min(low, corner / 8), 0.05), max(high, corner * 8)
    axis.plot([low, corner, high], [low * gbs, peak, peak], "k-", lw=1, label="dense array and memory")
    if report.config.dw_lanes:
        narrow = report.config.dw_lanes * clock / 1e3
        axis.axhline(narrow, color=COLOURS[DEPTHWISE], ls=":", lw=1, label="depthwise array")
    axis.set(xscale="log", yscale="log", xlabel="MACs per byte", ylabel="GMAC/s", title="Roofline (estimated)")
    _plain_log(axis)
    axis.legend(fontsize=8)


def _resources(axis: Axes, report: DesignReport) -> None:
    shares = report.used.shares
    names = [report.board.logic_unit, "DSP", report.board.ram_unit]
    bars = axis.bar(names, list(shares.values()), color=["tab:gray", "tab:blue", "tab:green"])
    axis.bar_label(bars, [f"{share:.0%}" for share in shares.values()])
    axis.axhline(1, color="tab:red", lw=1)
    axis.set(ylim=(0, 1.12), title="Share of what is usable (estimated)")
    axis.yaxis.set_major_formatter(_percent())


def _layers(axis: Axes, report: DesignReport) -> None:
    scale = report.board.clock_mhz  # cycles per microsecond
    places = range(len(report.layers))
    launch = report.launch_ms * 1e3 / len(report.layers)
    compute = [cost.iterations / scale for cost in report.layers]
    fill = [cost.fill / scale for cost in report.layers]
    memory = [cost.cycles / scale - c - f for cost, c, f in zip(report.layers, compute, fill, strict=True)]
    bottom = [0.0] * len(report.layers)
    for name, values, colour in (
        ("compute", compute, "tab:blue"),
        ("waiting for memory", memory, "tab:red"),
        ("fill", fill, "tab:gray"),
        ("launch", [launch] * len(report.layers), "#dddddd"),
    ):
        axis.bar(places, values, bottom=bottom, color=colour, label=name)
        bottom = [b + v for b, v in zip(bottom, values, strict=True)]
    labels = [f"{c.shape.kind[:5]} {c.shape.kernel_h}x{c.shape.kernel_w} {c.shape.out_channels}" for c in report.layers]
    axis.set_xticks(list(places), labels, rotation=90, fontsize=7)
    axis.set(ylabel="microseconds (estimated)", title="Time per layer (estimated)")
    axis.margins(x=0.01)
    axis.legend(fontsize=8)


def _plain_log(axis: Axes) -> None:
    """Ticks at 1, 2 and 5 of each decade of the y axis, as plain numbers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator

    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter("")
    axis.grid(alpha=0.3, which="both")


def _percent(decimals: int | None = None) -> PercentFormatter:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1, decimals=decimals)
