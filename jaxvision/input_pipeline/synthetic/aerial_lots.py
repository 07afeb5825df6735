"""What stands on the lots of the synthetic aerial scenes of `aerial.py`, one function a use.

Each takes the canvas, the pose of the lot's centre (x along the street, y away from it: the
street is at -depth / 2), and the lot's width and depth in pixels.
"""

import math

from jaxvision.input_pipeline.synthetic import aerial_parts as parts
from jaxvision.input_pipeline.synthetic import aerial_roofs as roofs
from jaxvision.input_pipeline.synthetic.aerial_parts import Canvas, Pose, box, pave, vary
from jaxvision.input_pipeline.synthetic.aerial_roofs import FLAT, PITCHED, roof_color

LAWN_COLORS = ((96, 108, 68), (84, 98, 62), (112, 114, 76), (126, 122, 86))
SOIL_COLORS = ((150, 128, 98), (132, 112, 88), (166, 148, 118))
CONCRETE = (156, 153, 146)
ASPHALT = (96, 96, 98)
PAINT = (198, 198, 192)
# The walk, verge or kerb between a lot's front edge and the roadway.
FRONTAGE = 8.0


def add_trees(canvas: Canvas, pose: Pose, area: tuple[float, ...], count: int, largest: float):
    """Plants `count` trees in the local rectangle (x0, y0, x1, y1)."""
    rng = canvas.rng
    for _ in range(count):
        spot = pose.at(rng.uniform(area[0], area[2]), rng.uniform(area[1], area[3]))
        canvas.trees.append((spot.x, spot.y, rng.uniform(2.5, largest)))


def add_house(canvas: Canvas, pose: Pose, width: float, depth: float) -> None:
    """A pitched house, a rectangle with up to two wings, centred on the pose."""
    rng = canvas.rng
    if depth > width:
        pose, width, depth = pose.at(0, 0, math.pi / 2), depth, width
    eave, pitch = rng.uniform(5, 10), rng.uniform(0.4, 0.8)
    hip = rng.choice((0.0, 0.0, 0.6, 1.0))
    faces = roofs.gable(width, depth, eave, pitch, hip)
    half = rng.uniform(0.5, 0.95) * depth / 2
    for out in rng.choice(((), (), (1,), (-1,), (-1,), (1, -1))):
        x = rng.choice((-1, 1, rng.uniform(-1, 1))) * (width / 2 - half)
        end = out * (depth / 2 + rng.uniform(4, 9))
        faces += roofs.wing(x, half, out * depth / 2, end, eave, pitch, hip)
    chimney = [(width * rng.uniform(-0.3, 0.3), 1.0, 2.0, 2.0, 3.0)] * rng.randint(0, 1)
    canvas.roofs.append(roofs.Roof(pose, faces, roof_color(canvas, PITCHED), [], chimney))


def residence(canvas: Canvas, pose: Pose, width: float, depth: float) -> None:
    """A house in its garden: lawn, driveway, often a garage, patio, pool or bare patch, trees."""
    rng, x, y = canvas.rng, width / 2, depth / 2
    lawn = vary(rng, rng.choice(LAWN_COLORS), 0.05)
    pave(canvas, pose, box(-x, -y, x, y), lawn, parts.LAWN)
    w = min(width - 11, rng.uniform(19, 30))
    d, setback, side = rng.uniform(15, 23), rng.uniform(5, 11), rng.choice((-1, 1))
    centre = side * (x - 9 - w / 2 - rng.uniform(0, 1.5))  # Beside the driveway.
    behind = -y + setback + d
    drive = vary(rng, rng.choice((CONCRETE, CONCRETE, ASPHALT)), 0.06)
    inner, outer = side * (x - 7.5), side * (x - 1.5)
    end = -y + setback + rng.uniform(2, d)
    pave(canvas, pose, box(inner, -y - FRONTAGE, outer, end), drive, parts.PAVING)
    if rng.random() < 0.5:
        parts.draw_car(canvas, pose.at((inner + outer) / 2, -y + rng.uniform(0, 6), math.pi / 2))
    if rng.random() < 0.5:  # Something on the ground right behind the house.
        patch = rng.choice((CONCRETE, CONCRETE, *SOIL_COLORS))
        left, wide = centre + rng.uniform(-w / 2, 0), rng.uniform(8, 16)
        patio = box(left, behind - 3, left + wide, behind + rng.uniform(4, 10))
        pave(canvas, pose, patio, vary(rng, patch), parts.PAVING)
    add_house(canvas, pose.at(centre, -y + setback + d / 2), w, d)
    if rng.random() < 0.3 and y - behind > 14:  # A garage or shed.
        spot = pose.at(side * (x - 6), y - rng.uniform(6, 9))
        shed = roofs.gable(rng.uniform(9, 13), rng.uniform(7, 9), 5, 0.4, 0)
        canvas.roofs.append(roofs.Roof(spot, shed, roof_color(canvas, PITCHED), [], []))
    elif rng.random() < 0.25 and y - behind > 12:
        add_pool(canvas, pose.at(centre, y - 7))
    if rng.random() < 0.5:
        hedge = pose.trace([(side * x, -y + setback), (side * x, y)])
        canvas.color.line(hedge, parts.ink((58, 70, 48), parts.FOLIAGE), rng.choice((2, 3, 4)))
    add_trees(canvas, pose, (-x, behind + 3, x, y + 3), rng.randint(0, 3), 7)
    add_trees(canvas, pose, (-x, -y, x, -y + setback), rng.choice((0, 0, 1)), 5)


def add_pool(canvas: Canvas, pose: Pose) -> None:
    """A swimming pool in its paved surround."""
    rng = canvas.rng
    x, y = rng.uniform(5, 9), rng.uniform(3, 4.5)
    pave(canvas, pose, box(-x - 2, -y - 2, x + 2, y + 2), vary(rng, CONCRETE), parts.PAVING)
    pool = box(-x, -y, x, y)
    if rng.random() < 0.5:
        pool = [(-x, 0), (-0.6 * x, -y), (0.5 * x, -y), (x, -0.2 * y), (0.7 * x, y), (-0.5 * x, y)]
    pave(canvas, pose, pool, vary(rng, (92, 164, 182), 0.1), parts.SMOOTH)


def block(canvas: Canvas, pose: Pose, width: float, depth: float) -> None:
    """A flat-roofed building several floors high, often L, T or U shaped or round a courtyard."""
    rng, x, y = canvas.rng, width / 2, depth / 2
    ground = vary(rng, rng.choice((CONCRETE, ASPHALT, *LAWN_COLORS)), 0.06)
    pave(canvas, pose, box(-x, -y, x, y), ground, parts.PAVING)
    w, d = width - rng.uniform(5, 14), depth - rng.uniform(5, 14)
    plan = rng.choice(("L", "L", "T", "U", "U", "court", "box")) if w > 38 else "box"
    pose = pose.at(0, 0, rng.choice((0, math.pi)))
    if plan == "box":
        d *= rng.uniform(0.6, 1)
    rects = roofs.flat_plan(rng, w, d, plan)
    roofs.flat_roof(canvas, pose, rects, rng.uniform(10, 24), roof_color(canvas, FLAT))
    add_trees(canvas, pose, (-x, 0, x, y), rng.randint(0, 4), 7)
    add_trees(canvas, pose, (-x, -y - 3, x, -y + 2), rng.randint(0, 3), 5)


def terrace(canvas: Canvas, pose: Pose, width: float, depth: float) -> None:
    """A row of houses wall to wall, each with its own roof color and strip of garden."""
    rng, x, y = canvas.rng, width / 2, depth / 2
    pave(canvas, pose, box(-x, -y, x, y), vary(rng, rng.choice(LAWN_COLORS)), parts.LAWN)
    count = int((width - 4) / rng.uniform(12, 17))
    unit, d, eave = (width - 4) / count, rng.uniform(18, 26), rng.uniform(8, 13)
    middle, pitch = -y + rng.uniform(2, 6) + d / 2, rng.uniform(0.35, 0.6)
    flat, shares = rng.random() < 0.5, FLAT if rng.random() < 0.5 else PITCHED
    color = roof_color(canvas, shares)
    for i in range(count):
        left = -x + 2 + unit * i
        yard = rng.choice((CONCRETE, *SOIL_COLORS, *LAWN_COLORS, *LAWN_COLORS))
        pave(canvas, pose, box(left, middle, left + unit - 1, y), vary(rng, yard), parts.LAWN)
        color = roof_color(canvas, shares) if rng.random() < 0.4 else vary(rng, color, 0.04)
        spot = pose.at(left + unit / 2, middle)
        if flat:
            deep = d / 2 + rng.choice((0, 0, 4, 7))
            plan = [[-unit / 2, -d / 2, unit / 2, deep]]
            roofs.flat_roof(canvas, spot, plan, eave, color)
        else:
            faces = roofs.gable(unit, d, eave, pitch, 0)
            stack = [(unit / 2 - 3, -1.0, 2.0, 2.5, 3.0)]
            canvas.roofs.append(roofs.Roof(spot, faces, color, [], stack))
    add_trees(canvas, pose, (-x, middle + d / 2 + 3, x, y), rng.randint(0, count), 6)


def store(canvas: Canvas, pose: Pose, width: float, depth: float) -> None:
    """A large flat roof behind a car park."""
    rng, x, y = canvas.rng, width / 2, depth / 2
    front = -y + rng.uniform(0.3, 0.45) * depth
    add_car_park(canvas, pose.at(0, (front - y) / 2), width, front + y)
    pave(canvas, pose, box(-x, front, x, y), vary(rng, CONCRETE), parts.PAVING)
    w, d = width - rng.uniform(5, 12), y - front - rng.uniform(2, 6)
    spot = pose.at(0, (front + y) / 2)
    color = roof_color(canvas, FLAT)
    if rng.random() < 0.35:  # A hall with a low metal gable.
        hall = roofs.gable(w, d, rng.uniform(9, 14), 0.15, 0)
        canvas.roofs.append(roofs.Roof(spot, hall, color, [], []))
    else:
        plan = rng.choice(("box", "box", "L")) if w > 50 else "box"
        rects = roofs.flat_plan(rng, w, d, plan)
        roofs.flat_roof(canvas, spot, rects, rng.uniform(8, 14), color)
    add_trees(canvas, pose, (-x, y - 2, x, y + 3), rng.randint(0, 3), 6)


def add_car_park(canvas: Canvas, pose: Pose, width: float, depth: float) -> None:
    """Asphalt with rows of painted stalls, some of them taken."""
    rng, x, y = canvas.rng, width / 2, depth / 2
    gray = rng.choice((ASPHALT, (112, 111, 110), (84, 84, 88)))
    pave(canvas, pose, box(-x, -y, x, y), vary(rng, gray), parts.PAVING)
    pave(canvas, pose, box(-3, -y - FRONTAGE, 4, -y + 1), gray, parts.PAVING)
    paint, full = parts.ink(PAINT, parts.PAVING, 0.9), rng.uniform(0.15, 0.8)
    row = -y + 7
    while row < y - 4:
        for i in range(int((width - 12) / 5.4)):
            stall = -x + 6 + 5.4 * i
            canvas.color.line(pose.trace([(stall, row - 5), (stall, row + 5)]), paint, 1)
            if rng.random() < full:
                parts.draw_car(canvas, pose.at(stall + 2.7, row + rng.gauss(0, 0.5), math.pi / 2))
        row += 22 if row + 22 < y - 4 else 99


def open_ground(canvas: Canvas, pose: Pose, width: float, depth: float) -> None:
    """A lot without a building: a car park, a sports court, bare soil or a small park."""
    rng, x, y = canvas.rng, width / 2, depth / 2
    use = rng.choice(("cars", "court", "soil", "park"))
    if use == "cars":
        return add_car_park(canvas, pose, width, depth)
    lawn = vary(rng, rng.choice(LAWN_COLORS))
    pave(canvas, pose, box(-x, -y, x, y), lawn, parts.LAWN)
    if use == "court":
        a, b = min(x - 3, 24), min(y - 3, 13)
        outer = rng.choice(((92, 112, 88), (132, 88, 76), (84, 100, 122), (110, 110, 108)))
        pave(canvas, pose, box(-a, -b, a, b), vary(rng, outer), parts.SMOOTH)
        c, d = a * 0.78, b * 0.72
        inner = vary(rng, rng.choice((outer, (88, 106, 128), (98, 122, 92))))
        pave(canvas, pose, box(-c, -d, c, d), inner, parts.SMOOTH)
        lines = [(-c, -d), (c, -d), (c, d), (-c, d), (-c, -d), (0, -d), (0, d)]
        canvas.color.line(pose.trace(lines), parts.ink(PAINT, parts.SMOOTH), 1)
    elif use == "soil":
        wobble, turn = rng.uniform(0.05, 0.25), rng.uniform(0, math.tau)
        patch = []
        for i in range(18):
            angle = math.tau * i / 18
            r = 0.75 + wobble * math.sin(2 * angle + turn) + rng.uniform(-0.04, 0.04)
            patch.append((r * x * math.cos(angle), r * y * math.sin(angle)))
        pave(canvas, pose, patch, vary(rng, rng.choice(SOIL_COLORS)), parts.SOIL)
    else:
        path = pose.trace([(-x, -y), (rng.uniform(-5, 5), rng.uniform(-5, 5)), (x, y)])
        canvas.color.line(path, parts.ink((168, 156, 132), parts.PAVING), 5)
        add_trees(canvas, pose, (-x, -y, x, y), int(width * depth / 220), 10)
    add_trees(canvas, pose, (-x, y - 4, x, y + 2), rng.randint(0, 3), 7)


# (what, least width, largest width) of a lot.
LOTS = {
    "residence": (residence, 34, 44),
    "block": (block, 44, 80),
    "terrace": (terrace, 56, 100),
    "store": (store, 60, 90),
    "open": (open_ground, 34, 62),
}
