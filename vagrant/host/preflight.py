"""What stops a run is found, and what it takes is announced, before anything is half done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import computer
from .machine import Machine
from .progress import Problem, gibibytes, line
from .providers.provider import GB, Cost

SERVER_MEMORY = 2.2 * GB


@dataclass(frozen=True)
class Part:
    """A part of the lab that is not there yet, and what it takes: bytes, and where."""

    title: str
    cost: Cost
    place: Path
    memory: float = 0


def announce(parts: list[Part]) -> None:
    """Say what will be downloaded, and what disk and memory it takes, before anything happens."""
    for part in parts:
        memory = f", memory {gibibytes(part.memory)}" if part.memory else ""
        cost = part.cost
        line(f"  {part.title}: download {gibibytes(cost.download)}, disk {gibibytes(cost.disk)}{memory}")
    download, disk = sum(part.cost.download for part in parts), sum(part.cost.disk for part in parts)
    line(f"  in all: download up to {gibibytes(download)}, disk up to {gibibytes(disk)}")


def check_disk(parts: list[Part]) -> None:
    """Raises Problem where the parts do not fit; parts on one disk are added up."""
    while parts:
        place = parts[0].place
        together = [part for part in parts if computer.same_disk(part.place, place)]
        needed, free = sum(part.cost.disk for part in together), computer.free_disk(place)
        if free < needed:
            raise Problem(
                f"too little room at {place}: {gibibytes(needed)} are needed, {gibibytes(free)} are free",
                "free some space, then run the same command again",
            )
        parts = [part for part in parts if part not in together]


def check_memory(parts: list[Part], machine: Machine) -> None:
    """Raises Problem where the server would not find its memory, naming the learner's if that holds it."""
    needed, free = sum(part.memory for part in parts), computer.free_memory()
    if free is None or free >= needed:
        return
    learner = Machine(machine.checkout, "lab")
    held = machine.name != "lab" and learner.answers()
    raise Problem(
        f"too little memory: {gibibytes(needed)} are needed, {gibibytes(free)} are free"
        + (", and your own server of the lab is running" if held else ""),
        "switch it off: make stop" if held else "close other programs, then run the same command again",
    )


def check_port(port: int) -> None:
    """Raises Problem where JupyterLab could not have this port."""
    if not computer.port_is_free(port):
        raise Problem(
            f"port {port} on 127.0.0.1 is in use by another program (perhaps a JupyterLab that still runs)",
            f"end it, or take another port: make lab PORT={port + 1}",
        )
