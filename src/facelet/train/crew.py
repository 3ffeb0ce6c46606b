"""Data-parallel training on CPUs: processes of one thread each that take every step together.

Each works through a batch of its own. Gradients and batch-norm statistics are then averaged over all of them, so that
every process takes the same step and holds the same weights; the first alone writes checkpoints and the log. Processes
are forked, so that nothing of a task has to be built or read twice, and averages go through torch's own `gloo`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facelet.errors import InputError, WorkerError

LOOPBACKS = ("lo", "lo0")
"""Names of the network interface that ends at this machine: of Linux, and of macOS and the BSDs."""


def check_workers(count: int, batch_size: int) -> None:
    """Refuses a number of processes that cannot share a batch.

    Raises:
        InputError: below 1, the batch does not divide by it, or this system cannot fork.
    """
    if count < 1:
        raise InputError(f"`workers`: must be 1 or more, found {count}")
    if batch_size % count or batch_size < 2 * count:
        raise InputError(
            f"`workers` {count}: a batch of {batch_size} gives no equal shares of 2 images or more; change `batch_size`"
        )
    if count > 1 and not ("fork" in multiprocessing.get_all_start_methods() and dist.is_available()):
        raise InputError(f"`workers` {count}: needs a system that forks, and torch with gloo; use `threads` here")


class Crew:
    """The processes of a training.

    Args:
        count: of processes, this one included.

    Attributes:
        rank: of the process that asks: 0 is the one that forks the others.
    """

    def __init__(self, count: int) -> None:
        self.count, self.rank = count, 0
        self._helpers: list[tuple[BaseProcess, Connection]] = []

    @contextmanager
    def working(self, work: Callable[[], None]) -> Iterator[None]:
        """Lets every other process do `work`, until it is done with it or the block ends.

        Raises:
            WorkerError: a process failed; its own error is in the message.
        """
        if self.count == 1:
            yield
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                for rank in range(1, self.count):
                    self._fork(rank, work, Path(folder))
                self._meet(Path(folder))
                yield
                for process, _ in self._helpers:
                    process.join()
            finally:
                for process, _ in self._helpers:
                    process.terminate()
                    process.join()
                if dist.is_initialized():
                    dist.destroy_process_group()

    @torch.no_grad()
    def average(self, modules: nn.Module) -> None:
        """Averages gradients and batch-norm statistics over all processes, in place.

        Args:
            modules: alike in every process; a gradient that only some of them have counts as zero in the others.

        Raises:
            WorkerError: another process ended.
        """
        if self.count == 1:
            return
        self._share_gradients(modules)
        tensors = _shared(modules)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self._together():
            dist.all_reduce(flat)
        parts = torch.split(flat.div_(self.count), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def first(self, value: float) -> float:
        """The value that the first process gives, in all of them.

        Raises:
            WorkerError: another process ended.
        """
        if self.count == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64)
        with self._together():
            dist.broadcast(told, 0)
        return float(told)

    def _share_gradients(self, modules: nn.Module) -> None:
        """Gives a zero gradient to what another process has one for, as its share shows what this one's does not."""
        parameters = list(modules.parameters())
        held = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
        with self._together():
            dist.all_reduce(held)
        for parameter, n_processes in zip(parameters, held.tolist(), strict=True):
            if n_processes and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _fork(self, rank: int, work: Callable[[], None], folder: Path) -> None:
        """Starts a process that does `work` and says through a pipe what went wrong."""
        here, there = multiprocessing.Pipe(duplex=False)

        def run() -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
            self.rank, self._helpers = rank, []
            try:
                self._meet(folder)
                work()
            except BaseException as error:
                there.send(f"{type(error).__name__}: {error}".splitlines()[0])
                os._exit(1)

        process = multiprocessing.get_context("fork").Process(target=run, name=f"worker-{rank}", daemon=True)
        with warnings.catch_warnings():
            # threads that the teachers or a progress bar left are not used in the new process
            warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
            process.start()
        there.close()
        self._helpers.append((process, here))

    def _meet(self, folder: Path) -> None:
        """Connects this process with the others; they meet at a file, and talk over the machine's loopback alone.

        Without its name gloo asks the network for the address of this machine, and listens there.
        """
        loopback = next((name for _, name in socket.if_nameindex() if name in LOOPBACKS), None)
        if loopback is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        with self._together():
            dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=self.rank, world_size=self.count)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Around what all processes do at once."""
        try:
            yield
        except RuntimeError as error:
            raise self._ended() from error

    def _ended(self) -> WorkerError:
        """Why another process is gone."""
        for process, pipe in self._helpers:
            process.join(timeout=1)
            if process.exitcode is not None:
                try:
                    why = pipe.recv()
                except EOFError:  # it was killed
                    why = f"ended with code {process.exitcode}"
                return WorkerError(f"{process.name}: {why}; go on from the last checkpoint with `resume`")
        return WorkerError("`workers`: a process of the training is gone; go on with `resume`")


def _shared(modules: nn.Module) -> list[Tensor]:
    """What a step averages: gradients, and the statistics that batch norms gather."""
    gradients = [parameter.grad for parameter in modules.parameters() if parameter.grad is not None]
    norms = [m for m in modules.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    statistics = [s for norm in norms for s in (norm.running_mean, norm.running_var) if s is not None]
    return [*gradients, *statistics]
