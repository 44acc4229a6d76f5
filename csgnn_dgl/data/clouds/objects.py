"""The classes of the built-in data set: everyday objects whose proportions are drawn at random.

Each function takes a random generator and returns one object, z up, of any size and place. The ranges are
wide and overlap between classes on purpose: a low, square sofa and a short bed have much the same outline and
differ in their parts.
"""

import itertools
from collections.abc import Callable

import numpy as np

from csgnn_dgl.data.clouds.solids import Solid, arch, ball, box, cylinder, frustum, join, loft, rod, turned_profile

Rng = np.random.Generator


def airplane(rng: Rng) -> Solid:
    """Make a fuselage with wings, tail and up to four engines; it flies along y."""
    radius = rng.uniform(0.04, 0.09)
    half = 0.5
    height = radius * rng.uniform(0.9, 1.3)
    nose, tail = rng.uniform(0.08, 0.2), rng.uniform(0.15, 0.3)
    heights = np.array([-half, -half + tail * 0.5, -half + tail, half - nose, half - nose * 0.35, half])
    widths = np.array([0.15, 0.65, 1.0, 1.0, 0.7, 0.05]) * radius
    body = turned_profile(widths, heights).turned("x", -90).stretched(1.0, 1.0, height / radius)
    at, span = rng.uniform(-0.08, 0.15), rng.uniform(0.35, 0.75)
    chord, sweep = rng.uniform(0.12, 0.26), rng.uniform(-0.02, 0.35)
    rise = rng.uniform(-0.03, 0.1)
    level = rng.choice([-0.6, 0.0, 0.8]) * height
    parts = [body.called("body")]
    wings = _wings(at, level, span, chord, chord * rng.uniform(0.25, 0.9), sweep, rise)
    parts += [wing.called("wing") for wing in wings]
    tail_span, tail_chord = span * rng.uniform(0.28, 0.45), chord * rng.uniform(0.45, 0.75)
    fin = rng.uniform(0.12, 0.24)
    tail_level = fin * 0.9 if rng.random() < 0.3 else height * 0.3
    back = -half + tail_chord * 0.5
    planes = _wings(back, tail_level, tail_span, tail_chord, tail_chord * 0.5, sweep * 0.4, 0.0)
    planes.append(_wings(back, 0.0, fin, tail_chord * 1.2, tail_chord * 0.6, 0.1, 0.0)[0].turned("y", -90))
    parts += [plane.called("tail") for plane in planes]
    for place in np.linspace(0.3, 0.6, rng.integers(0, 3)):
        size, length = radius * rng.uniform(0.35, 0.6), rng.uniform(0.1, 0.2)
        for side in (-1, 1):
            engine = cylinder(size, length).turned("x", -90).called("engine")
            y = at - sweep * place
            parts.append(engine.moved(side * place * span, y, level + rise * place - size * 1.2))
    return join(parts)


def bed(rng: Rng) -> Solid:
    """Make a mattress on a frame with a headboard, pillows, and perhaps legs and a footboard."""
    width, length = rng.uniform(0.5, 1.3), rng.uniform(1.0, 1.5)
    legs = rng.uniform(0.05, 0.25) if rng.random() < 0.7 else 0.0
    frame, mattress = rng.uniform(0.06, 0.2), rng.uniform(0.08, 0.22)
    parts = [
        box(width, length, frame).moved(z=legs).called("frame"),
        box(width * 0.95, length * 0.96, mattress).moved(z=legs + frame).called("mattress"),
    ]
    top = legs + frame + mattress
    thickness = rng.uniform(0.03, 0.08)
    head = top + rng.uniform(0.12, 0.45)
    board = box(width * rng.uniform(1.0, 1.1), thickness, head).moved(y=length / 2 + thickness / 2)
    parts.append(board.called("board"))
    if rng.random() < 0.5:
        foot = top + rng.uniform(-0.05, 0.2)
        parts.append(box(width, thickness, foot).moved(y=-length / 2 - thickness / 2).called("board"))
    pillows = 1 if width < 0.75 else 2
    for x in (np.arange(pillows) - (pillows - 1) / 2) * width / pillows:
        pillow = ball(0.4 * width / pillows, rng.uniform(0.1, 0.16), rng.uniform(0.04, 0.07))
        parts.append(pillow.moved(x, length * 0.36, top + 0.02).called("pillow"))
    if legs > 0:
        parts += _four(box(0.05, 0.05, legs).called("leg"), width - 0.06, length - 0.06)
    return join(parts)


def bookshelf(rng: Rng) -> Solid:
    """Make an open case of shelves with some books in it."""
    width, depth, height = rng.uniform(0.5, 1.3), rng.uniform(0.2, 0.5), rng.uniform(0.7, 1.7)
    board = rng.uniform(0.02, 0.05)
    shelves = int(rng.integers(3, 7))
    parts = [box(board, depth, height).moved(x=side * (width - board) / 2).called("case") for side in (-1, 1)]
    if rng.random() < 0.7:
        parts.append(box(width, board * 0.5, height).moved(y=depth / 2).called("case"))
    levels = np.linspace(0.0, height - board, shelves)
    parts += [box(width, depth, board).moved(z=z).called("shelf") for z in levels]
    if rng.random() < 0.3:
        parts.append(box(board, depth, height).called("case"))
    gap = levels[1] - levels[0] - board
    for z in levels[:-1]:
        if rng.random() < 0.6:
            filled = rng.uniform(0.2, 0.7) * (width - 2 * board)
            left = rng.uniform(0.0, width - 2 * board - filled) - width / 2 + board
            edges = np.linspace(left, left + filled, int(rng.integers(3, 6)))
            for start, end in itertools.pairwise(edges):
                book = box(end - start, depth * rng.uniform(0.6, 0.9), gap * rng.uniform(0.55, 0.95))
                parts.append(book.moved((start + end) / 2, 0.0, z + board).called("book"))
    return join(parts)


def bottle(rng: Rng) -> Solid:
    """Make a closed body with a shoulder, a slim neck and a cap."""
    radius, height = rng.uniform(0.13, 0.34), 1.0
    neck = radius * rng.uniform(0.22, 0.45)
    shoulder, start = rng.uniform(0.45, 0.7), rng.uniform(0.08, 0.22)
    waist = rng.uniform(0.85, 1.05)
    cap = neck * rng.uniform(1.05, 1.5)
    cap_height = rng.uniform(0.04, 0.12)
    bend = shoulder + start * 0.5
    radii = [0.0, radius * 0.9, radius, radius * waist, radius, (radius * 0.7 + neck * 0.3), neck, neck, cap, cap, 0.0]
    heights = [0.0, 0.0, 0.03, shoulder * 0.5, shoulder, bend, shoulder + start, 1.0 - cap_height]
    heights += [1.0 - cap_height, height, height]
    body = turned_profile(radii, heights, [*["body"] * 4, *["neck"] * 3, *["cap"] * 3])
    return body.stretched(1.0, rng.uniform(0.5, 0.9), 1.0) if rng.random() < 0.3 else body


def car(rng: Rng) -> Solid:
    """Make a body with a cabin on four wheels; it drives along y. Saloons, vans and pickups."""
    length, width = rng.uniform(0.9, 1.2), rng.uniform(0.38, 0.56)
    wheel = rng.uniform(0.07, 0.13)
    clearance, body = wheel * rng.uniform(0.7, 1.1), rng.uniform(0.12, 0.26)
    lower = frustum((width, length), (width * 0.95, length * rng.uniform(0.92, 0.99)), body)
    parts = [lower.moved(z=clearance).called("body")]
    kind = rng.choice(["saloon", "van", "pickup"], p=[0.5, 0.25, 0.25])
    cabin = {"saloon": (0.45, 0.62), "van": (0.75, 0.95), "pickup": (0.28, 0.4)}[str(kind)]
    span = rng.uniform(*cabin) * length
    tall = rng.uniform(0.12, 0.24) * (1.4 if kind == "van" else 1.0)
    place = {"saloon": -0.05, "van": -0.02, "pickup": 0.08}[str(kind)] * length
    roof = (width * rng.uniform(0.7, 0.88), span * rng.uniform(0.55, 0.85))
    shift = rng.uniform(-0.05, 0.02) * length
    parts.append(frustum((width * 0.92, span), roof, tall, shift).moved(y=place, z=clearance + body).called("cabin"))
    if kind == "pickup":
        wall = box(0.03, length * 0.42, tall * 0.5).moved(0.0, -length * 0.26, clearance + body).called("body")
        parts += [wall.moved(side * (width * 0.95 - 0.03) / 2) for side in (-1, 1)]
    thick = width * rng.uniform(0.16, 0.26)
    base = length * rng.uniform(0.56, 0.68)
    tyre = cylinder(wheel, thick).moved(z=-thick / 2).turned("y", 90).called("wheel")
    parts += _four(tyre.moved(z=wheel), width - thick * 0.6, base)
    if rng.random() < 0.3:
        parts.append(box(width * 0.9, 0.06, 0.02).moved(y=-length * 0.47, z=clearance + body + 0.07).called("body"))
    return join(parts)


def chair(rng: Rng) -> Solid:
    """Make a seat with a back, on legs or a star foot, with or without arms."""
    width, depth = rng.uniform(0.4, 0.65), rng.uniform(0.4, 0.6)
    seat, thickness = rng.uniform(0.35, 0.55), rng.uniform(0.03, 0.09)
    back = rng.uniform(0.35, 0.75)
    lean = rng.uniform(0.0, 18.0)
    top = seat + thickness
    parts = [box(width, depth, thickness).moved(z=seat).called("seat")]
    style = rng.choice(["panel", "slats", "bars"])
    board = rng.uniform(0.02, 0.05)
    if style == "panel":
        rest = [box(width * rng.uniform(0.8, 1.0), board, back)]
    elif style == "slats":
        rest = [box(board, board, back).moved(x=side * (width - board) / 2) for side in (-1, 1)]
        count = int(rng.integers(2, 5))
        rest += [box(width, board * 0.6, back * 0.12).moved(z=z) for z in np.linspace(0.2, 0.86, count) * back]
    else:
        rest = [rod((x, 0, 0), (x, 0, back), board * 0.4) for x in np.linspace(-0.46, 0.46, 6) * width]
        rest.append(box(width, board, back * 0.14).moved(z=back * 0.9))
    parts.append(join(rest).turned("x", -lean).moved(y=depth / 2 - board / 2, z=top).called("back"))
    parts += _support(rng, width, depth, seat)
    if rng.random() < 0.35:
        arm = rng.uniform(0.15, 0.26)
        for side in (-1, 1):
            x = side * (width / 2 - 0.02)
            parts.append(box(0.04, depth * 0.95, 0.03).moved(x, 0.0, top + arm).called("arm"))
            parts.append(box(0.035, 0.035, arm).moved(x, -depth * 0.4, top).called("arm"))
    return join(parts)


def ladder(rng: Rng) -> Solid:
    """Make two rails with rungs, leaning on nothing or on a second pair of legs."""
    width, height = rng.uniform(0.25, 0.6), rng.uniform(0.8, 1.3)
    rail = rng.uniform(0.02, 0.045)
    count = int(rng.integers(4, 9))
    taper = rng.uniform(0.75, 1.0)
    depth = rng.uniform(1.0, 2.0)
    foot, head = width / 2, width / 2 * taper
    flat = rng.random() < 0.5
    rails = [frustum((rail, rail * depth), (rail, rail * depth), height).moved(x=side * foot) for side in (-1, 1)]
    front = []
    for side, solid in zip((-1, 1), rails, strict=True):
        slope = side * (head - foot) / height
        vertices = solid.vertices.copy()
        vertices[:, 0] += slope * vertices[:, 2]
        front.append(Solid(vertices, solid.faces, "rail"))
    for z in np.linspace(0.1, 0.95, count) * height:
        half = foot + (head - foot) * z / height
        if flat:
            front.append(box(2 * half, rail * depth * 1.6, rail * 0.6).moved(z=z).called("rung"))
        else:
            front.append(rod((-half, 0, z), (half, 0, z), rail * 0.4).called("rung"))
    if rng.random() < 0.6:
        return join(front)
    spread = rng.uniform(10.0, 22.0)
    behind = [rod((side * foot, 0, 0), (side * head, 0, height), rail * 0.5).called("rail") for side in (-1, 1)]
    behind += [rod((-foot, 0, z), (foot, 0, z), rail * 0.4).called("rung") for z in np.array([0.15, 0.55]) * height]
    shift = 2 * height * np.tan(np.radians(spread))
    plate = box(2 * head + rail, rail * 4, rail).moved(z=height * np.cos(np.radians(spread)))
    first = join(front).turned("x", -spread).moved(y=-shift / 2 * np.cos(np.radians(spread)))
    second = join(behind).turned("x", spread).moved(y=shift / 2 * np.cos(np.radians(spread)))
    return join([first, second, plate.called("rung")])


def lamp(rng: Rng) -> Solid:
    """Make a foot, a straight or jointed arm and an open shade."""
    base, pole = rng.uniform(0.12, 0.28), rng.uniform(0.012, 0.03)
    height = rng.uniform(0.55, 1.25)
    wide = rng.uniform(0.14, 0.34)
    narrow, tall = wide * rng.uniform(0.35, 0.95), rng.uniform(0.16, 0.36)
    foot = rng.uniform(0.02, 0.07)
    parts = [cylinder(base, foot, base * rng.uniform(0.5, 1.0)).called("foot")]
    shade = turned_profile([wide, (wide + narrow) / 2, narrow], [0.0, tall / 2, tall], "shade")
    if rng.random() < 0.6:
        parts.append(rod((0, 0, 0), (0, 0, height), pole).called("pole"))
        parts.append(shade.moved(z=height - tall * rng.uniform(0.5, 0.9)))
    else:
        elbow = np.array([0.0, rng.uniform(0.1, 0.35), height * rng.uniform(0.5, 0.7)])
        tip = np.array([0.0, -rng.uniform(0.15, 0.45), height])
        arm = [rod((0, 0, foot), elbow, pole), rod(elbow, tip, pole), ball(*[pole * 1.8] * 3).moved(*elbow)]
        parts.append(join(arm).called("pole"))
        head = shade.stretched(0.7, 0.7, 0.8).moved(z=-tall * 0.8).turned("x", -rng.uniform(0.0, 50.0))
        parts.append(head.moved(*tip))
    bulb = ball(*[rng.uniform(0.04, 0.07)] * 3).moved(*parts[-1].vertices.mean(axis=0))
    parts.append(bulb.called("bulb"))
    return join(parts)


def monitor(rng: Rng) -> Solid:
    """Make a flat screen with a rim, on a neck with a foot."""
    width = rng.uniform(0.7, 1.2)
    height, thick = width * rng.uniform(0.5, 0.8), rng.uniform(0.02, 0.12)
    neck, raised = rng.uniform(0.03, 0.1), rng.uniform(0.08, 0.35)
    tilt = rng.uniform(-5.0, 12.0)
    rim = rng.uniform(0.02, 0.05)
    screen = [box(width, thick, height)]
    screen += [box(rim, rim, height).moved(side * (width - rim) / 2, -thick / 2, 0.0) for side in (-1, 1)]
    screen += [box(width, rim, rim).moved(y=-thick / 2, z=z) for z in (0.0, height - rim)]
    if rng.random() < 0.5:
        hump = frustum((width * 0.7, height * 0.7), (width * 0.4, height * 0.4), rng.uniform(0.05, 0.25))
        screen.append(hump.turned("x", -90).moved(y=thick / 2, z=height / 2))
    parts = [join(screen).turned("x", -tilt).moved(z=raised).called("screen")]
    parts.append(box(neck, neck * 0.7, raised + height * 0.3).moved(y=thick / 2 + neck * 0.35).called("neck"))
    foot = width * rng.uniform(0.25, 0.6)
    stand = box(foot, foot * rng.uniform(0.5, 0.8), 0.025) if rng.random() < 0.5 else cylinder(foot / 2, 0.025)
    parts.append(stand.moved(y=thick / 2).called("foot"))
    return join(parts)


def mug(rng: Rng) -> Solid:
    """Make an open cup with a wall and one handle."""
    radius, height = rng.uniform(0.26, 0.5), rng.uniform(0.55, 1.05)
    lower = radius * rng.uniform(0.65, 1.05)
    wall = rng.uniform(0.02, 0.06)
    belly = (radius + lower) / 2 * rng.uniform(0.95, 1.15)
    floor = height * rng.uniform(0.04, 0.12)
    radii = [0.0, lower, belly, radius, radius - wall, belly - wall, lower - wall, 0.0]
    heights = [0.0, 0.0, height / 2, height, height, height / 2, floor, floor]
    tall = height * rng.uniform(0.45, 0.75)
    handle = arch(rng.uniform(0.18, 0.38), tall, rng.uniform(0.03, 0.06), rng.uniform(180.0, 220.0))
    place = height * rng.uniform(0.45, 0.55)
    at = min(belly, (radius + lower) / 2) - wall
    return join([turned_profile(radii, heights, "body"), handle.moved(at, 0.0, place).called("handle")])


def sofa(rng: Rng) -> Solid:
    """Make a seat block with a back, two arms, cushions, and perhaps a corner piece."""
    width, depth = rng.uniform(0.8, 1.7), rng.uniform(0.5, 0.85)
    base, seat = rng.uniform(0.02, 0.12), rng.uniform(0.18, 0.32)
    back, arm = rng.uniform(0.25, 0.5), rng.uniform(0.1, 0.28)
    thick, arm_width = rng.uniform(0.12, 0.24), rng.uniform(0.07, 0.2)
    top = base + seat
    parts = [box(width, depth, seat).moved(z=base).called("base")]
    rest = frustum((width, thick), (width * 0.97, thick * rng.uniform(0.5, 0.9)), back, rng.uniform(0.0, 0.1))
    parts.append(rest.moved(y=(depth - thick) / 2, z=top).called("back"))
    inner = width - 2 * arm_width
    for side in (-1, 1):
        x = side * (width - arm_width) / 2
        parts.append(box(arm_width, depth * rng.uniform(0.85, 1.0), arm).moved(x, 0.0, top).called("arm"))
        if rng.random() < 0.4:
            roll = cylinder(arm_width * 0.6, depth).turned("x", 90).moved(x, depth / 2, top + arm)
            parts.append(roll.called("arm"))
    seats = max(1, round(inner / rng.uniform(0.4, 0.7)))
    cushion = rng.uniform(0.04, 0.1)
    for x in (np.arange(seats) - (seats - 1) / 2) * inner / seats:
        parts.append(box(inner / seats * 0.95, depth - thick, cushion).moved(x, -thick / 2, top).called("cushion"))
        pad = ball(inner / seats * 0.4, 0.08, back * 0.4)
        parts.append(pad.moved(x, depth / 2 - thick, top + cushion + back * 0.4).called("cushion"))
    if rng.random() < 0.2:
        long = rng.uniform(0.3, 0.6)
        corner = box(width * 0.38, long, seat + cushion).moved(width * 0.31, -(depth + long) / 2, base)
        parts.append(corner.called("base"))
    parts += _four(cylinder(0.03, base).called("base"), width - 0.1, depth - 0.1)
    return join(parts)


def table(rng: Rng) -> Solid:
    """Make a round or rectangular top on legs, a column or two trestles."""
    width, depth = rng.uniform(0.6, 1.5), rng.uniform(0.5, 0.9)
    height, top = rng.uniform(0.3, 0.85), rng.uniform(0.02, 0.08)
    if rng.random() < 0.35:
        depth = width = rng.uniform(0.6, 1.1)
        parts = [cylinder(width / 2, top).moved(z=height).called("top")]
        parts += _support(rng, width * 0.68, depth * 0.68, height)
    else:
        parts = [box(width, depth, top).moved(z=height).called("top")]
        if rng.random() < 0.3:
            thick = rng.uniform(0.03, 0.06)
            trestles = [box(thick, depth * 0.8, height).moved(x=side * width * 0.38) for side in (-1, 1)]
            parts.append(join([*trestles, box(width * 0.76, thick, thick * 2).moved(z=height * 0.4)]).called("leg"))
        else:
            parts += _support(rng, width * 0.96, depth * 0.96, height)
    if rng.random() < 0.3:
        apron = rng.uniform(0.04, 0.1)
        board = box(width * 0.6, 0.02, apron).called("top")
        parts += [board.moved(0.0, side * depth * 0.3, height - apron) for side in (-1, 1)]
    return join(parts)


def vase(rng: Rng) -> Solid:
    """Make an open vessel with a foot, a belly, a neck and a rim; some have two handles."""
    height = 1.0
    belly, foot = rng.uniform(0.2, 0.48), rng.uniform(0.1, 0.26)
    neck, rim = rng.uniform(0.07, 0.22), rng.uniform(0.14, 0.36)
    middle, slim = rng.uniform(0.35, 0.55), rng.uniform(0.72, 0.85)
    heights = np.linspace(0.0, 1.0, 15)
    radii = np.interp(heights, [0.0, 0.06, middle, slim, 1.0], [foot, foot * 0.9, belly, neck, rim])
    smooth = np.convolve(np.pad(radii, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    wall = rng.uniform(0.015, 0.03)
    inside = np.maximum(smooth - wall, 0.01)[::-1]
    profile = np.concatenate([[0.0], smooth, inside[:-1], [0.0]])
    levels = np.concatenate([[0.0], heights, heights[::-1][:-1], [heights[1]]]) * height
    middles = (levels[1:] + levels[:-1]) / 2
    parts = [turned_profile(profile, levels, ["neck" if middle > slim else "body" for middle in middles])]
    if rng.random() < 0.3:
        tall = slim - middle
        handle = arch(rng.uniform(0.12, 0.22), tall * 1.2, rng.uniform(0.02, 0.035), 190.0)
        at = float(np.interp(slim, heights, smooth))
        handle = handle.moved(at, 0.0, slim - tall * 0.3).called("handle")
        parts += [handle.turned("z", turn) for turn in (0, 180)]
    return join(parts)


CLASSES: dict[str, Callable[[Rng], Solid]] = {
    "airplane": airplane,
    "bed": bed,
    "bookshelf": bookshelf,
    "bottle": bottle,
    "car": car,
    "chair": chair,
    "ladder": ladder,
    "lamp": lamp,
    "monitor": monitor,
    "mug": mug,
    "sofa": sofa,
    "table": table,
    "vase": vase,
}
"""Name of each class and the function that makes one object of it."""

PARTS: dict[str, tuple[str, ...]] = {
    "airplane": ("body", "wing", "tail", "engine"),
    "bed": ("frame", "mattress", "board", "pillow", "leg"),
    "bookshelf": ("case", "shelf", "book"),
    "bottle": ("body", "neck", "cap"),
    "car": ("body", "cabin", "wheel"),
    "chair": ("seat", "back", "leg", "arm"),
    "ladder": ("rail", "rung"),
    "lamp": ("foot", "pole", "shade", "bulb"),
    "monitor": ("screen", "neck", "foot"),
    "mug": ("body", "handle"),
    "sofa": ("base", "back", "arm", "cushion"),
    "table": ("top", "leg"),
    "vase": ("body", "neck", "handle"),
}
"""Names of the parts that an object of each class may have."""


def _four(part: Solid, x: float, y: float) -> list[Solid]:
    """Return four copies at the corners of a rectangle of edge lengths x and y about the z axis."""
    return [part.moved(i * x / 2, j * y / 2) for i in (-1, 1) for j in (-1, 1)]


def _wings(y: float, z: float, span: float, root: float, tip: float, sweep: float, rise: float) -> list[Solid]:
    """Return a right and a left wing of length `span` along x, whose roots have their middle at (0, y, z).

    They are `root` and `tip` deep along y at their ends; the tip lies `sweep` behind the root and `rise` above it.
    """
    thick = 0.1 * root

    def end(x: float, depth: float, back: float, up: float, height: float) -> np.ndarray:
        front, rear = y - back + depth / 2, y - back - depth / 2
        low, high = z + up - height / 2, z + up + height / 2
        return np.array([[x, front, low], [x, rear, low], [x, rear, high], [x, front, high]])

    right = loft(end(0.0, root, 0.0, 0.0, thick), end(span, tip, sweep, rise, thick * 0.6))
    return [right, right.stretched(-1.0, 1.0, 1.0)]


def _support(rng: Rng, width: float, depth: float, height: float) -> list[Solid]:
    """Return what carries a seat or a table top: four legs, or a column on a plate or on a star."""
    kind = rng.choice(["straight", "splayed", "plate", "star"], p=[0.45, 0.25, 0.15, 0.15])
    thick = rng.uniform(0.03, 0.07)
    if kind == "straight":
        legs = _four(box(thick, thick, height), width - thick, depth - thick)
        if rng.random() < 0.4:
            z = height * rng.uniform(0.2, 0.5)
            bar = box(thick * 0.5, depth - thick, thick * 0.6)
            legs += [bar.moved(side * (width - thick) / 2, 0, z) for side in (-1, 1)]
        return [leg.called("leg") for leg in legs]
    if kind == "splayed":
        corners = [(i * width, j * depth) for i in (-1, 1) for j in (-1, 1)]
        legs = [rod((x * 0.5, y * 0.5, 0), (x * 0.36, y * 0.36, height), thick * 0.4) for x, y in corners]
        return [leg.called("leg") for leg in legs]
    column = cylinder(thick * 0.8, height).called("leg")
    if kind == "plate":
        return [column, cylinder(min(width, depth) * rng.uniform(0.3, 0.5), 0.03).called("leg")]
    reach = min(width, depth) * rng.uniform(0.42, 0.55)
    feet = int(rng.integers(3, 6))
    angles = 2 * np.pi * np.arange(feet) / feet
    ends = [(reach * np.cos(a), reach * np.sin(a), 0.02) for a in angles]
    return [column, *(rod((0, 0, thick), end, thick * 0.4).called("leg") for end in ends)]
