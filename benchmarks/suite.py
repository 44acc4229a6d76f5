"""What can be measured: each command is a function whose keywords are its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import mapping as steps
from benchmarks import ratios as stored_ratios
from benchmarks import report, roofline, startup
from benchmarks.contenders import CONTENDERS, MODES, compare, entry_of, piece_entry, pieces_of, usual
from benchmarks.harness import Entry, Measured, Session, Workers, measure, measure_memory, missing_text
from benchmarks.machine import describe
from benchmarks.sizes import SIZES, Size, count_macs, num_vertices
from csgnn_dgl.mapping import MAPPINGS

ROOFED = {"auto": "float32", "auto-bf16": "bfloat16", "fast": "float32"}
"""Contenders that are measured against a roofline, and its type."""
WIDTH = {"float32": 4, "bfloat16": 2}
OPPONENTS = (stored_ratios.OPPONENT, "composition", "composition-torch")
"""Whom the others are compared with: the first of these that took part."""
MEMORY_STEPS = 3
"""Training steps before the peak is read: the first makes the optimiser's moments, the second needs them."""
PAPER_GROWTH = {"training": 4.0, "inference": 3.0}
"""Table 4: time at 32 spheres over time at one."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Results as plain values, what draws them, and whether all is well."""

    results: dict[str, Any]
    draw: Callable[[Path], None] | None = None
    well: bool = True


def sized(names: Sequence[str], batch: int | None) -> dict[str, Size]:
    """Return sizes by name, with another batch if one is given."""
    found = {name: SIZES[name] for name in names}
    return found if batch is None else {name: dataclasses.replace(size, batch=batch) for name, size in found.items()}


def speed(
    session: Session,
    sizes: Sequence[str] = ("small", "wide"),
    contenders: Sequence[str] | None = None,
    modes: Sequence[str] = MODES,
    repeats: int = 5,
    batch: int | None = None,
    device: str = "cpu",
    no_roofline: bool = False,
    verbose: bool = False,
) -> Outcome:
    """Time training and inference of all contenders, and their share of the roofline."""
    results: dict[str, Any] = {}
    for name, size in sized(sizes, batch).items():
        chosen = contenders or usual(name)
        result = measure_speed(session, size, chosen, modes, repeats, device, name, not no_roofline)
        results[name] = result
        session.tell(f"\n{name}: {size}; per {size.sample}\n\n{report.speed_table(result)}\n")
        session.tell(missing_text(result["missing"]))
        for dtype, heights in result["roofline"].items() if verbose else ():
            for mode, height in heights.items():
                title = f"roofline of {mode} in {dtype}, per {size.sample}"
                session.tell(f"{title}\n\n{report.roofline_table(height)}\n")
    return Outcome({"sizes": results}, lambda file: report.draw_speed(results, file))


def measure_speed(
    session: Session,
    size: Size,
    contenders: Sequence[str],
    modes: Sequence[str],
    repeats: int,
    device: str,
    title: str,
    roofed: bool,
) -> dict[str, Any]:
    """Time contenders and rooflines at one size in the same rounds.

    Returns
    -------
    dict
        Plain values: seconds per sample of each contender and mode, speedups, the roofline and the shares of it.
    """
    entries = [entry_of(name, size, modes, device=device) for name in contenders]
    dtypes = sorted({ROOFED[name] for name in contenders if roofed and name in ROOFED}, reverse=True)
    entries += [roofline.entry_of(size, modes, dtype, device) for dtype in dtypes]
    differences: dict[str, float] = {}

    def verify(outputs: Any) -> None:
        found = {name: outputs[name] for name in contenders if name in outputs}
        differences.update(compare(found, slack=1.0 if size.num_bins is None else 3.0))

    measured = measure(entries, repeats, session, title, verify)
    times = {name: per_sample(measured, name, size) for name in contenders if name in measured.times}
    heights: dict[str, Any] = {}
    for dtype in dtypes:
        seconds = {key: found["median"] for key, found in measured.times[f"roofline {dtype}"].items()}
        heights[dtype] = {
            mode: roofline.height(roofline.costs(size, mode, WIDTH[dtype]), seconds, size.batch) for mode in modes
        }
    opponent = next(
        (name for name in (stored_ratios.OPPONENT, "composition", "composition-torch") if name in times), None
    )
    return {
        "size": dataclasses.asdict(size),
        "sample": size.sample,
        "differences": differences,
        "missing": measured.missing,
        "seconds_per_sample": times,
        "opponent": opponent,
        "speedups": {
            name: {mode: times[opponent][mode]["median"] / of_name[mode]["median"] for mode in modes}
            for name, of_name in times.items()
            if opponent is not None and name != opponent
        },
        "roofline": heights,
        "share_of_roofline": {
            name: {mode: heights[dtype][mode]["seconds"] / times[name][mode]["median"] for mode in modes}
            for name, dtype in ROOFED.items()
            if name in times and dtype in heights
        },
    }


def per_sample(measured: Measured, name: str, size: Size) -> dict[str, Any]:
    """Divide the times of an entry by the batch."""
    return {mode: scaled(found, size.batch) for mode, found in measured.times[name].items()}


def scaled(found: dict[str, Any], count: int) -> dict[str, Any]:
    """Divide a summary by a number."""
    return {key: [one / count for one in value] if key == "all" else value / count for key, value in found.items()}


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
        table: dict[str, Any] = {}
        missing: dict[str, str] = {}
        with Workers(session) as workers:
            for piece, layer in pieces_of(size):
                title = str(layer) if piece == layer.kind else f"level {layer.level}: {piece} {layer.outer}"
                entries = [piece_entry(piece, layer, contender, size, device) for contender in contenders]
                measured = measure(entries, repeats, session, title, compare, workers)
                table[title] = measured.times
                missing |= measured.missing
        results[name] = {"contenders": list(contenders), "seconds": table, "missing": missing}
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
        found: dict[str, Any] = {}
        chosen = contenders or [one for one in usual(name) if CONTENDERS[one].compiled is None]
        for index in session.progress(range(len(chosen)), name):
            entry = entry_of(chosen[index], size, ("training",), device=device)
            entry = dataclasses.replace(entry, options={**entry.options, "modes": (), "settle": False})
            found[chosen[index]] = measure_memory(entry, MEMORY_STEPS, device, session)
        results[name] = {"size": dataclasses.asdict(size), "bytes": found}
        table = report.memory_table(results[name])
        session.tell(f"\n{name}: {size}; peak of a process that trains\n\n{table}\n")
    return Outcome({"sizes": results})


def modes(
    session: Session,
    level: int = 4,
    num_spheres: int = 32,
    channels: int = 8,
    base_width: int = 4,
    batch: int = 32,
    memory_modes: Sequence[str] = tuple(steps.MEMORY_MODES),
) -> Outcome:
    """Measure memory and time of a training step from clouds in the modes that save memory."""
    size = Size(level, num_spheres, channels, base_width, batch)
    found: dict[str, Any] = {}
    for index in session.progress(range(len(memory_modes)), "modes"):
        name = memory_modes[index]
        options = {"size": size, **steps.MEMORY_MODES[name]}
        both = (Entry(name, steps.build_steps, options, ("training",), keep) for keep in (False, True))
        found[name] = [measure_memory(entry, 2, "cpu", session) for entry in both]
    session.tell(f"\n{size}; a step of the whole batch\n\n{report.modes_table(found)}\n")
    return Outcome({"size": dataclasses.asdict(size), "modes": found})


def mapping(
    session: Session,
    level: int = 4,
    num_spheres: int = 20,
    channels: int = 8,
    num_points: int = 1024,
    batch: int = 32,
    source: str = "builtin",
    size: str = "small",
    repeats: int = 5,
) -> Outcome:
    """Time mapping on one core, and loading of data beside training."""
    options = {"level": level, "num_spheres": num_spheres, "channels": channels}
    options |= {"num_points": num_points, "batch": batch}
    entries = []
    for kind in sorted(MAPPINGS):
        given = {"kind": kind, **options}
        entries.append(Entry(kind, steps.build_mapping, given, ("batched",)))
        entries.append(Entry(f"{kind}, point by point", steps.build_mapping, given, ("looped",), least=0.0))
    mapped = measure(entries, repeats, dataclasses.replace(session, threads=1), "mapping").times
    clouds = {
        entry.name: scaled(mapped[entry.name][mode], batch if mode == "batched" else 1)
        for entry in entries
        for mode in entry.modes
    }
    grid = f"level {level}, R = {num_spheres}, C = {channels}"
    title = f"{grid}, one thread; per cloud of {num_points} points"
    session.tell(f"\n{title}\n\n{report.seconds_table('mapping', clouds)}\n")
    trained = SIZES[size]
    given = {"source": source, "num_points": num_points, "batch": trained.batch}
    loading = Entry("loading", steps.build_loading, given, ("fetch",), least=0.0)
    training = dataclasses.replace(entry_of("auto", trained, ("training",)), name="training")
    found = measure([loading, training], repeats, session, "loading").times
    batches = {"loading": scaled(found["loading"]["fetch"], steps.BATCHES), "training": found["training"]["training"]}
    session.tell(f"\n{size}: {trained}; per batch\n\n{report.seconds_table('work', batches)}\n")
    rates = [report.number(1 / batches[name]["median"]) for name in ("loading", "training")]
    session.tell(f"loading alone gives {rates[0]} batches/s, training takes {rates[1]}\n")
    return Outcome({"options": options, "seconds_per_cloud": clouds, "source": source, "seconds_per_batch": batches})


def table4(
    session: Session,
    level: int = 4,
    num_spheres: int = 16,
    levels: Sequence[int] = (2, 3, 4, 5),
    counts: Sequence[int] = (1, 8, 16, 24, 32),
    base_width: int = 4,
    batch: int = 4,
    contender: str = "auto",
    repeats: int = 5,
    device: str = "cpu",
) -> Outcome:
    """Time the model for 1 to 32 spheres (Table 4 of the paper), and for several levels."""
    base = Size(level, num_spheres, 8, base_width, batch)
    by_count = [dataclasses.replace(base, num_spheres=count) for count in counts]
    spheres = measure_growth(session, by_count, contender, repeats, device, "spheres")
    title = f"level {level}, F = {base_width}, batch {batch}; per sample"
    session.tell(f"\n{title}\n\n{report.growth_table(spheres, 'num_spheres')}\n")
    for mode, factor in PAPER_GROWTH.items():
        last, first = (spheres[index]["seconds_per_sample"][mode]["median"] for index in (-1, 0))
        grown = f"{mode}: x{last / first:.1f} from the first to the last"
        session.tell(f"{grown}; paper, 1 to 32 spheres: x{factor:g}")
    by_level = [dataclasses.replace(base, level=value) for value in levels]
    rows = measure_growth(session, by_level, contender, repeats, device, "levels")
    title = f"R = {num_spheres}, F = {base_width}, batch {batch}; per sample"
    session.tell(f"\n{title}\n\n{report.growth_table(rows, 'level')}\n")
    for what, some in (
        ("spheres, from 8 up", [row for row in spheres if row["size"]["num_spheres"] >= 8]),
        ("levels, from 3 up", [row for row in rows if row["size"]["level"] >= 3]),
    ):
        if len(some) > 1:
            spreads = ", ".join(f"{mode} {report.percent(spread(some, mode))}" for mode in MODES)
            session.tell(f"largest time per multiply-accumulate above the smallest over {what}: {spreads}")
    results = {"spheres": spheres, "levels": rows, "paper_growth": PAPER_GROWTH}
    return Outcome(results, lambda file: report.draw_growth(spheres, rows, PAPER_GROWTH, file))


def measure_growth(
    session: Session, sizes: Sequence[Size], contender: str, repeats: int, device: str, title: str
) -> list[dict[str, Any]]:
    """Time one contender at several sizes in turns; return times per sample and per MAC of the forward pass."""
    entries = []
    for number, size in enumerate(sizes):
        entry = entry_of(contender, size, MODES, str(number), device)
        # without a comparison there is no need for a training step before the first round
        entries.append(dataclasses.replace(entry, options={**entry.options, "modes": ("inference",)}))
    measured = measure(entries, repeats, session, title)
    rows = []
    for number, size in enumerate(sizes):
        macs, times = count_macs(size) / size.batch, per_sample(measured, str(number), size)
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


def spread(rows: Sequence[dict[str, Any]], mode: str) -> float:
    """Return by how much the longest time per multiply-accumulate exceeds the shortest, as a share of it."""
    values = [row["seconds_per_mac"][mode] for row in rows]
    return max(values) / min(values) - 1


def start(session: Session, level: int = 5, num_spheres: int = 32, repeats: int = 5) -> Outcome:
    """Time importing the package and building the largest grid."""
    result = startup.measure_startup(level, num_spheres, repeats, session)
    heavy = ", ".join(result["heavy"]) or "none"
    session.tell(f"\n{report.seconds_table('what', result['seconds'])}\n")
    session.tell(f"heavy modules that csgnn_dgl imports beyond those of torch and dgl: {heavy}")
    return Outcome(result)


def check(
    session: Session,
    size: str = "small",
    slack: float = 0.2,
    ratios: Path = stored_ratios.STORED,
    store: bool = False,
    repeats: int = 5,
) -> Outcome:
    """Compare speed and memory against the composition with the stored ratios."""
    machine = describe(session.threads, "python -m pipelines.benchmark check --store")
    stored = None if store else stored_ratios.read(machine, ratios)
    chosen = [*stored_ratios.OURS, stored_ratios.OPPONENT]
    timed = measure_speed(session, SIZES[size], chosen, MODES, repeats, "cpu", "speed", roofed=False)
    quiet = dataclasses.replace(session, tell=lambda text: None)
    found = stored_ratios.ratios(timed, memory(quiet, [size], chosen).results["sizes"][size])
    if stored is None:
        stored_ratios.store(found, machine, ratios)
        values = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        session.tell(f"stored in {ratios}: {values}")
        return Outcome({"ratios": found})
    rows, well = stored_ratios.compare(found, stored, slack)
    session.tell(f"\n{report.check_table(rows)}\n")
    if not well:
        share = report.percent(slack)
        session.tell(f"worse than stored by more than {share}: find the change, or store anew with --store")
    return Outcome({"ratios": found}, well=well)


COMMANDS: dict[str, Callable[..., Outcome]] = {
    "speed": speed,
    "layers": layers,
    "memory": memory,
    "modes": modes,
    "mapping": mapping,
    "table4": table4,
    "startup": start,
    "check": check,
}
