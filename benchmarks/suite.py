"""What can be measured: each command is a function whose keywords are its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ratios, report, roofline, surroundings
from benchmarks.contenders import CONTENDERS, MODES, build_piece, compare, entry_of, pieces_of, usual
from benchmarks.harness import Entry, Session, Workers, describe, measure, measure_memory, missing_text, summary
from benchmarks.sizes import SIZES, Size, num_vertices
from csgnn_dgl.mapping import MAPPINGS

ROOFED = {"auto": "float32", "auto-bf16": "bfloat16", "fast": "float32"}
"""Contenders that are measured against a roofline, and its type."""
WIDTH = {"float32": 4, "bfloat16": 2}
OPPONENTS = (ratios.OPPONENT, "composition", "composition-torch")
"""Whom the others are compared with: the first of these that took part."""
MEMORY_MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "recompute": {"recompute": True},
    "accumulate 4": {"parts": 4},
    "accumulate 4, recompute": {"parts": 4, "recompute": True},
    "bf16": {"contender": "auto-bf16"},
    "bf16, recompute": {"contender": "auto-bf16", "recompute": True},
}
"""Ways to train on a batch that need less memory."""


class Outcome(NamedTuple):
    """Results as plain values, what draws them, and whether all is well."""

    results: dict[str, Any]
    draw: Callable[[Path], None] | None = None
    well: bool = True


def sized(names: Sequence[str], batch: int | None) -> dict[str, Size]:
    """Return sizes by name, with another batch if one is given."""
    return {name: dataclasses.replace(SIZES[name], batch=batch or SIZES[name].batch) for name in names}


def scaled(found: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Divide a summary by a number."""
    return {key: [one / count for one in value] if key == "all" else value / count for key, value in found.items()}


def per_sample(times: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """Divide the times of a contender by the batch."""
    return {mode: scaled(found, size.batch) for mode, found in times.items()}


def speed(
    session: Session,
    sizes: Sequence[str] = ("small", "wide"),
    contenders: Sequence[str] | None = None,
    repeats: int = 5,
    batch: int | None = None,
    device: str = "cpu",
    verbose: bool = False,
) -> Outcome:
    """Time training and inference of all contenders, and their share of the roofline."""
    results: dict[str, Any] = {}
    for name, size in sized(sizes, batch).items():
        results[name] = result = measure_speed(session, size, contenders or usual(name), repeats, device)
        session.tell(f"\n{name}: {size}; per sample\n\n{report.speed_table(result)}\n")
        session.tell(missing_text(result["missing"]))
        for dtype, heights in result["roofline"].items() if verbose else ():
            for mode, height in heights.items():
                title = f"roofline of {mode} in {dtype}, per sample"
                session.tell(f"{title}\n\n{report.roofline_table(height)}\n")
    return Outcome({"sizes": results}, lambda file: report.draw_speed(results, file))


def measure_speed(
    session: Session, size: Size, contenders: Sequence[str], repeats: int, device: str = "cpu", roofed: bool = True
) -> dict[str, Any]:
    """Time contenders and rooflines at one size in the same rounds."""
    entries = [entry_of(name, size, device=device) for name in contenders]
    dtypes = sorted({ROOFED[name] for name in contenders if roofed and name in ROOFED}, reverse=True)
    entries += [roofline.entry_of(size, dtype, device) for dtype in dtypes]
    differences: dict[str, float] = {}

    def verify(outputs: Mapping[str, Any]) -> None:
        found = {name: outputs[name] for name in contenders if name in outputs}
        differences.update(compare(found, slack=1.0 if size.num_bins is None else 3.0))

    measured = measure(entries, repeats, session, str(size), verify)
    times = {name: per_sample(measured.times[name], size) for name in contenders if name in measured.times}
    medians = {name: {mode: of[mode]["median"] for mode in MODES} for name, of in times.items()}
    heights: dict[str, Any] = {}
    for dtype in dtypes:
        seconds = {key: found["median"] for key, found in measured.times[f"roofline {dtype}"].items()}
        heights[dtype] = {
            mode: roofline.height(roofline.costs(size, mode, WIDTH[dtype]), seconds, size.batch) for mode in MODES
        }
    opponent = next((name for name in OPPONENTS if name in times), None)
    over = {
        name: {mode: medians[opponent][mode] / of[mode] for mode in MODES} for name, of in medians.items() if opponent
    }
    shares = {
        name: {mode: heights[dtype][mode]["seconds"] / medians[name][mode] for mode in MODES}
        for name, dtype in ROOFED.items()
        if name in times and dtype in heights
    }
    return {
        "size": dataclasses.asdict(size),
        "differences": differences,
        "missing": measured.missing,
        "seconds_per_sample": times,
        "opponent": opponent,
        "speedups": over,
        "roofline": heights,
        "share_of_roofline": shares,
    }


def layers(
    session: Session,
    sizes: Sequence[str] = ("small",),
    contenders: Sequence[str] = ("auto", "fast", "inductor"),
    repeats: int = 5,
    batch: int | None = None,
    device: str = "cpu",
) -> Outcome:
    """Time each layer by itself, forward and backward, in the forms of the package."""
    results: dict[str, Any] = {}
    for name, size in sized(sizes, batch).items():
        times: dict[str, Any] = {}
        missing: dict[str, str] = {}
        with Workers() as workers:
            for piece, place in pieces_of(size).items():
                entries = [entry_of(one, size, builder=build_piece, place=place, device=device) for one in contenders]
                times[piece], absent = measure(entries, repeats, session, piece, compare, workers)
                missing |= absent
        results[name] = {"contenders": list(contenders), "seconds": times, "missing": missing}
        session.tell(f"\n{name}: {size}; per batch\n\n{report.pieces_table(results[name])}\n")
        session.tell(missing_text(missing))
    return Outcome({"sizes": results})


def memory(
    session: Session,
    sizes: Sequence[str] = ("small", "wide"),
    contenders: Sequence[str] | None = None,
    batch: int | None = None,
    device: str = "cpu",
) -> Outcome:
    """Measure the most memory that training takes, one process for each contender."""
    results: dict[str, Any] = {}
    for name, size in sized(sizes, batch).items():
        chosen = contenders or [one for one in usual(name) if CONTENDERS[one].compiled is None]
        found: dict[str, Any] = {}
        for index in session.progress(range(len(chosen)), name):
            entry = entry_of(chosen[index], size, compared=False, device=device)
            # the first step makes the optimiser's moments, the second needs them
            found[chosen[index]] = measure_memory(entry, 3, device)
        whole = found.get(ratios.OPPONENT, {}).get("added")
        rows = [
            [
                one,
                *(f"{of[key] / 1e6:.0f}" for key in ("before", "peak", "added")),
                report.percent(whole and of["added"] / whole),
            ]
            for one, of in found.items()
        ]
        head = ("contender", "before, MB", "peak, MB", "added, MB", f"of {ratios.OPPONENT}")
        session.tell(f"\n{name}: {size}; peak of a process that trains\n\n{report.table(head, rows)}\n")
        results[name] = {"size": dataclasses.asdict(size), "bytes": found}
    return Outcome({"sizes": results})


def modes(session: Session, size: str = "largest") -> Outcome:
    """Measure memory and time of a training step from clouds in the modes that save memory."""
    found: dict[str, Any] = {}
    names = list(MEMORY_MODES)
    for index in session.progress(range(len(names)), "modes"):
        options = {"contender": "auto", "size": SIZES[size], "compared": False, "clouds": True}
        entry = entry_of(**{**options, **MEMORY_MODES[names[index]]})
        both = (dataclasses.replace(entry, keep_blocks=keep) for keep in (False, True))
        found[names[index]] = [measure_memory(one, 2) for one in both]
    head = ("mode", "peak, GB", "keeping blocks: peak, GB", "step, s", "keeping blocks: step, s")
    rows = [[name, *(1e-9 * one["peak"] for one in of), *(one["seconds"] for one in of)] for name, of in found.items()]
    session.tell(f"\n{SIZES[size]}; a step of the whole batch\n\n{report.table(head, rows)}\n")
    return Outcome({"size": dataclasses.asdict(SIZES[size]), "modes": found})


def mapping(
    session: Session, size: str = "paper", batch: int = 32, trained: str = "small", repeats: int = 5
) -> Outcome:
    """Time mapping on one core, and loading of data beside training."""
    mapped = sized([size], batch)[size]
    entries = [Entry(kind, surroundings.build_mapping, {"kind": kind, "size": mapped}) for kind in sorted(MAPPINGS)]
    times = measure(entries, repeats, session, "mapping").times
    clouds = {kind: scaled(of["mapping"], batch) for kind, of in times.items()}
    session.tell(f"\n{mapped}, one thread; per cloud of 1024 points\n\n{report.seconds_table('mapping', clouds)}\n")
    model = SIZES[trained]
    loading = Entry("loading", surroundings.build_loading, {"batch": model.batch})
    found = measure([loading, entry_of("auto", model, "training")], repeats, session, "loading").times
    batches = {"loading": scaled(found["loading"]["fetch"], surroundings.BATCHES)}
    batches["training"] = found["training"]["training"]
    session.tell(f"\n{trained}: {model}; per batch\n\n{report.seconds_table('work', batches)}\n")
    rates = [report.number(1 / of["median"]) for of in batches.values()]
    session.tell(f"loading alone gives {rates[0]} batches/s, training takes {rates[1]}\n")
    return Outcome({"seconds_per_cloud": clouds, "seconds_per_batch": batches})


def table4(
    session: Session,
    size: str = "table4",
    levels: Sequence[int] = (2, 3, 4, 5),
    counts: Sequence[int] = (1, 8, 16, 24, 32),
    batch: int | None = None,
    contender: str = "auto",
    device: str = "cpu",
    repeats: int = 5,
) -> Outcome:
    """Time the model for 1 to 32 spheres (Table 4 of the paper), and for several levels."""
    base = sized([size], batch)[size]
    results: dict[str, list[dict[str, Any]]] = {}
    for what, values in (("num_spheres", counts), ("level", levels)):
        sizes = [dataclasses.replace(base, **{what: value}) for value in values]
        results[what] = measure_growth(session, sizes, contender, repeats, device)
        session.tell(f"\n{base}; per sample\n\n{report.growth_table(results[what], what)}\n")
    return Outcome(results, lambda file: report.draw_growth(results["num_spheres"], results["level"], file))


def measure_growth(
    session: Session, sizes: Sequence[Size], contender: str, repeats: int, device: str
) -> list[dict[str, Any]]:
    """Time one contender at several sizes in turns; return times per sample and per MAC of the forward pass."""
    entries = [entry_of(contender, size, str(size), device=device) for size in sizes]
    measured, rows = measure(entries, repeats, session, "growth"), []
    for size in sizes:
        macs, times = roofline.count_macs(size) / size.batch, per_sample(measured.times[str(size)], size)
        rows.append(
            {
                "size": dataclasses.asdict(size),
                "macs_per_sample": macs,
                "macs_per_grid_point": macs / (size.num_spheres * num_vertices(size.level)),
                "seconds_per_sample": times,
                "seconds_per_mac": {mode: times[mode]["median"] / macs for mode in MODES},
            }
        )
    return rows


def startup(session: Session, repeats: int = 5) -> Outcome:
    """Time importing the package and building the largest grid."""
    runs = [surroundings.time_startup() for _ in session.progress(range(repeats), "start-up")]
    seconds = {name: summary([run[name] for run in runs]) for name in runs[0]}
    session.tell(f"\n{report.seconds_table('what', seconds)}\n")
    return Outcome({"seconds": seconds})


def check(session: Session, store: bool = False, repeats: int = 5) -> Outcome:
    """Compare speed and memory against the composition with the stored ratios."""
    machine, path = describe("python -m pipelines.benchmark check --store"), ratios.STORED
    stored = None if store else ratios.read(machine, path)
    chosen = [*ratios.OURS, ratios.OPPONENT]
    timed = measure_speed(session, SIZES["small"], chosen, repeats, roofed=False)
    quiet = dataclasses.replace(session, tell=lambda text: None)
    found = ratios.ratios(timed, memory(quiet, ["small"], chosen).results["sizes"]["small"])
    if stored is None:
        ratios.store(found, machine, path)
        session.tell(f"stored in {path}: {', '.join(f'{name} {value:.2f}' for name, value in found.items())}")
        return Outcome({"ratios": found})
    rows = [(name, found.get(name), wanted, ratios.verdict(found.get(name), wanted)) for name, wanted in stored.items()]
    session.tell(f"\n{report.table((f'{ratios.OPPONENT} over', 'measured', 'stored', 'verdict'), rows)}\n")
    well = all(verdict == "as good" for *_, verdict in rows)
    if not well:
        share = report.percent(ratios.SLACK)
        session.tell(f"worse than stored by more than {share}: find the change, or store anew with --store")
    return Outcome({"ratios": found}, well=well)


COMMANDS: dict[str, Callable[..., Outcome]] = {
    one.__name__: one for one in (speed, layers, memory, modes, mapping, table4, startup, check)
}
