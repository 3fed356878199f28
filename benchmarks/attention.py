"""What torch-scatter's segment operations gain in the softmax of sparse attention, beside PyG's own and the dense path.

Each kind runs in a process of its own, as PyG too uses torch-scatter where it finds it. Without torch-scatter (extra ``scatter``)
the two others are measured alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import harness

KINDS = {"PyG's own": False, "torch-scatter": True}
CASES = [(84, 0.1), (84, 0.3), (200, 0.05), (200, 0.1), (200, 0.3), (400, 0.05), (400, 0.1)]
BATCH, WIDTH, HEADS = 16, 32, 4
ROUNDS = 3


def seconds(call: Callable[[], object], least: float) -> float:
    """The shortest processor time of a call (one thread): what other programs on the machine disturb least."""
    call()
    times: list[float] = []
    while sum(times) < least or len(times) < 5:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def measured(n_regions: int, density: float, least: float) -> dict[str, float]:
    """Milliseconds forward and backward of the softmax, of the layer over edges, and of the layer over a dense matrix."""
    import torch

    from connectome_gnn.generation.attention import BackboneAttention, edge_softmax

    torch.set_num_threads(1)
    torch.manual_seed(0)
    adjacency = torch.rand(n_regions, n_regions) * (torch.rand(n_regions, n_regions) < density)
    index = adjacency.nonzero().T.contiguous()
    weight = adjacency[index[0], index[1]]
    layer = BackboneAttention(WIDTH, HEADS)
    state = torch.randn(BATCH, n_regions, WIDTH, requires_grad=True)
    scores = torch.randn(BATCH, index.shape[1], HEADS, requires_grad=True)
    send = torch.randn_like(scores)
    calls: dict[str, Callable[[], object]] = {
        "softmax": lambda: edge_softmax(scores, index[0], n_regions).backward(send),
        "layer": lambda: layer(state, edge_index=index, edge_weight=weight).sum().backward(),
        "dense layer": lambda: layer(state, adjacency).sum().backward(),
    }
    return {name: 1000 * seconds(call, least) for name, call in calls.items()}


def main() -> None:
    """Measure, print and write results/attention.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small cases")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases, least = (CASES[:2], 0.2) if arguments.quick else (CASES, 0.5)
    if arguments.kind:
        if not KINDS[arguments.kind]:
            sys.modules["torch_scatter"] = None  # type: ignore[assignment]
        print(json.dumps([measured(*case, least) for case in cases]))
        return
    kinds = [kind for kind, needs_scatter in KINDS.items() if not needs_scatter or find_spec("torch_scatter")]
    if len(kinds) < len(KINDS):
        print("torch-scatter (extra 'scatter') is not installed: its gain is not measured")
    answers: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):  # in turns, so that a busy machine is as busy for both
        for kind in kinds:
            command = [sys.executable, __file__, "--kind", kind, *(["--quick"] if arguments.quick else [])]
            answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            before = answers.get(kind, answer)
            answers[kind] = [{what: min(one[what], two[what]) for what in one} for one, two in zip(before, answer, strict=True)]
    rows: list[dict[str, Any]] = []
    for number, (n_regions, density) in enumerate(cases):
        row: dict[str, Any] = {"regions": n_regions, "density": density, "edges": round(n_regions**2 * density), "batch": BATCH}
        row["milliseconds"] = {kind: answer[number] for kind, answer in answers.items()}
        line = f"R={n_regions:4d} density {density:.2f}: " + "; ".join(
            f"{kind} softmax {part[number]['softmax']:.1f} ms, layer {part[number]['layer']:.1f}, dense {part[number]['dense layer']:.1f}"
            for kind, part in answers.items()
        )
        if len(answers) == len(KINDS):
            ours, theirs = (answers[kind][number] for kind in ("torch-scatter", "PyG's own"))
            row["gain"] = {what: theirs[what] / ours[what] for what in ("softmax", "layer")}
            line += f"; gain {row['gain']['softmax']:.2f} x, layer {row['gain']['layer']:.2f} x"
        rows.append(row)
        print(line)
    if not arguments.quick:
        harness.write("attention", {"width": WIDTH, "heads": HEADS, "cases": rows})


if __name__ == "__main__":
    main()
