"""Processes that compute together, as tests start them: `python -m helpers.workers TASK FOLDER RANK COUNT`.

They meet by a file in the folder, or, where `torchrun` starts them, as it says. The first leaves in the folder what they found.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from derive import Cell
from derive.demo.checkpoint import made_with, read
from derive.demo.data import batches
from derive.demo.processes import Processes, leave, together
from derive.demo.pytorch import Network, gradients, resumable
from derive.demo.train import Settings
from generated import lstm, rnn
from generated.torch import LSTM, layer
from helpers.rolls import random_rolls, random_split

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
CELLS: dict[str, Any] = {
    "lstm": "lstm",
    "gru": "gru",
    "own": Cell("h = tanh(W @ x + U @ h_prev + b) - h_prev / 2", name="own", output="h"),
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: LSTM(3, 5, num_layers=2, dtype=torch.float64),
    "lstm_peephole": lambda: layer("lstm_peephole", 3, 5, dtype=torch.float64),
}
SETTINGS = Settings(parameters=3000, batch_size=2, epochs=3)
TRAINED = (rnn, lstm)
FOUND, CHECKPOINT, KILL, LIVES = "found", "checkpoint.pt", "kill", "lives"  # files


# What is computed, by one process or by several


def all_gradients(processes: Processes) -> dict[str, torch.Tensor]:
    """Return gradients and losses of networks in float64, on two batches of unequal pieces, of which the second is a single one."""
    found = {}
    for name, cell in CELLS.items():
        for k, batch in enumerate(batches(random_rolls(0, [9, 4, 17, 6, 12]), 4)):
            torch.manual_seed(1)
            network = Network(cell, 5, dtype=torch.float64)
            loss = gradients(processes.joined(network), processes.share(batch), processes)
            found[f"{name} {k} loss"] = torch.tensor(processes.total(loss))
            found |= {f"{name} {k} {key}": value.grad for key, value in network.named_parameters()}
    return found


class Small(nn.Module):
    """A layer between others."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.cell = LAYERS[kind]()
        self.out = nn.Linear(5, 2, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.cell(x)[0]).cos()


def steps(network: nn.Module, x: torch.Tensor) -> Iterator[float]:
    """Make steps of training on a mean over sequences; yield the loss before each."""
    optimiser = torch.optim.Adam(network.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        loss = network(x).square().sum() / x.shape[1]
        loss.backward()
        yield loss.item()
        optimiser.step()


def sequences() -> torch.Tensor:
    return torch.randn(7, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def sharded(processes: Processes) -> dict[str, Any]:
    """Return the losses of steps of training by FSDP2, the shape of a part of a parameter, and the parameters after them."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (processes.count,))
    found = {}
    for kind in LAYERS:
        network = Small(kind)
        for part in (network.cell, network):
            fully_shard(part, mesh=mesh)
        own = sequences()[:, processes.rank :: processes.count]
        losses = [processes.total(loss) / processes.count for loss in steps(network, own)]
        parameters = dict(network.named_parameters())
        first = next(iter(parameters.values())).to_local()
        found[kind] = {"losses": losses, "part": list(first.shape), **{key: value.full_tensor() for key, value in parameters.items()}}
    return found


def training(processes: Processes, folder: Path) -> dict[str, Any]:
    """Train two cells one after the other, with a checkpoint; a file says which process is killed before which step of its first life.

    Another file has a line for each life: how many epochs were behind it when it began.
    """
    data = random_split()
    if (folder / KILL).exists() and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        victim, step = json.loads((folder / KILL).read_text())
        if processes.rank == victim:
            kill_before(step)
    if processes.first:
        kept = read(folder / CHECKPOINT, made_with(SETTINGS, data))
        with (folder / LIVES).open("a") as file:
            print(sum(len(state["epochs"]) for state in kept.values()), file=file)
    fit = resumable(SETTINGS, data, processes, folder / CHECKPOINT)
    results = {cell.LAYER.name: fit(cell, data, SETTINGS, lambda epoch: None) for cell in TRAINED}
    return {name: {**found._asdict(), "epochs": [list(epoch) for epoch in found.epochs]} for name, found in results.items()}


def kill_before(step: int) -> None:
    """Let this process be killed before a step of its optimiser, counted from 0 over all trainings."""
    steps = iter(range(step + 1))

    def count(*_: Any) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_pre_hook(count)


# Processes


def start(task: str, folder: Path, count: int = 2) -> Any:
    """Run a task in so many processes, and return what they found."""
    command = [sys.executable, "-m", "helpers.workers", task, str(folder)]
    running = [finish_later([*command, str(rank), str(count)]) for rank in range(count)]
    wait_for(running)
    return torch.load(folder / FOUND, weights_only=True)


def start_by_torchrun(task: str, folder: Path) -> Any:
    """Run a task in two processes that `torchrun` starts, and starts again if one dies."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    wait_for([finish_later([*launcher, "-m", "helpers.workers", task, str(folder)])])
    return torch.load(folder / FOUND, weights_only=True)


def finish_later(command: list[str]) -> subprocess.Popen[str]:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **ENVIRONMENT}, **options)


def wait_for(running: list[subprocess.Popen[str]]) -> None:
    """Wait until all have ended well; if one has not, none is left."""
    try:
        for process in running:
            said, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, f"ended with {process.returncode}: {said}"
    finally:
        for process in running:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process, by a signal at which `torchrun` ends those that it has started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def met(folder: Path, rank: str = "", count: str = "") -> Iterator[Processes]:
    """Join the others."""
    if not rank:
        with together() as processes:
            yield processes
        return
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=int(rank), world_size=int(count))
    yield Processes(int(rank), int(count))
    leave()


def main(task: str, place: str, *which: str) -> None:
    folder = Path(place)
    with met(folder, *which) as processes:
        tasks = {"gradients": all_gradients, "sharded": sharded, "training": lambda processes: training(processes, folder)}
        found = tasks[task](processes)
        if processes.first:
            torch.save(found, folder / FOUND)


if __name__ == "__main__":
    main(*sys.argv[1:])
