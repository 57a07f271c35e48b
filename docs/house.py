"""Draw the house as the code has it: its floors and wings, and who imports whom."""

import sys
from collections import Counter
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from test_house import FLOOR, imported, modules, name_of  # noqa: E402

matplotlib.rcParams.update({"svg.hashsalt": "house", "font.size": 9, "font.family": "DejaVu Sans"})
COLOURS = ("#dbe7f3", "#dcefe3", "#fdf0d2", "#f6dfd3", "#e8def2", "#e6e6e6")  # by floor
ROOMS = {
    wing: [name.partition(".")[2] for name in map(name_of, modules) if name.split(".")[0] == wing] for wing in FLOOR
}
IMPORTS = Counter(
    (name_of(path).split(".")[0], other.split(".")[0])
    for path in modules
    for other in imported(name_of(path), path.read_text(encoding="utf-8"))
    if other
)


def leads(above: str, below: str, without: tuple[str, str] | None = None) -> bool:
    """Tell whether imports lead from one wing to another, perhaps through others."""
    steps = [b for a, b in IMPORTS if a == above and b != above and (a, b) != without]
    return below in steps or any(leads(step, below) for step in steps)


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")


def draw_house(path: Path) -> None:
    """Floors, wings and rooms; an arrow for each import that no other way leads to."""
    figure = Figure((10.5, 9))
    ax = figure.add_axes((0, 0, 1, 1))
    place, bottom = {}, 0.0  # of each wing: the middle, bottom, top
    for floor in sorted(set(FLOOR.values())):
        wings = [wing for wing in FLOOR if FLOOR[wing] == floor]
        wide = (10 - 0.2 * (len(wings) - 1)) / len(wings)
        said = [wrapped([room for room in ROOMS[wing] if room], round(wide * 11)) for wing in wings]
        tall = 0.52 + 0.16 * max(len(text.splitlines()) for text in said)
        ax.text(-0.15, bottom + tall / 2, f"floor {floor}", rotation=90, ha="right", va="center", color="#777777")
        for i, (wing, rooms) in enumerate(zip(wings, said)):
            left, box = i * (wide + 0.2), dict(fc=COLOURS[floor], ec="#555555", lw=0.8)
            ax.add_patch(FancyBboxPatch((left, bottom), wide, tall, boxstyle="round,pad=0,rounding_size=0.08", **box))
            ax.text(left + wide / 2, bottom + tall - 0.1, wing, weight="bold", size=11, ha="center", va="top")
            ax.text(left + wide / 2, bottom + tall - 0.4, rooms, size=8, ha="center", va="top", linespacing=1.25)
            place[wing] = (left + wide / 2, bottom, bottom + tall)
        bottom += tall + 0.55
    for above, below in IMPORTS:
        if above != below and not leads(above, below, without=(above, below)):
            (x0, y0, _), (x1, _, y1) = place[above], place[below]
            arrow = dict(arrowstyle="-|>", color="#444444", lw=1, shrinkA=1, shrinkB=1)
            ax.annotate("", (x1 + 0.12 * (x0 - x1), y1), (x0 - 0.12 * (x0 - x1), y0), arrowprops=arrow, zorder=0.5)
    top = bottom - 0.45
    ax.add_patch(Polygon([(-0.2, top), (5, top + 0.8), (10.2, top)], fc="#b9614e", ec="#7a3a2c"))
    ax.set(xlim=(-0.5, 10.3), ylim=(-0.1, top + 1))
    ax.axis("off")
    save(figure, path)


def wrapped(words: list[str], width: int) -> str:
    """Set words in lines of so many letters."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}  {word}".strip()
        lines[-1:] = [longer] if len(longer) <= width else [lines[-1], word]
    return "\n".join(lines)


def draw_imports(path: Path) -> None:
    """How often the rooms of one wing (a row) import from those of another (a column)."""
    wings = sorted(FLOOR, key=FLOOR.get)
    figure = Figure((7, 5.6))
    ax = figure.add_subplot()
    for y, above in enumerate(wings[::-1]):
        for x, below in enumerate(wings):
            count = IMPORTS[above, below]
            ax.text(x, y, count or "", ha="center", va="center", color="white" if count > 25 else "black")
            shade = (1 - min(count, 50) / 62,) * 2 + (1 - min(count, 50) / 160,)
            ax.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fc=shade if count else "#f5f5f5"))
    ax.set(xlim=(-0.5, len(wings) - 0.5), ylim=(-0.5, len(wings) - 0.5))
    ax.set_xticks(range(len(wings)), wings, rotation=40, ha="left")
    ax.set_yticks(range(len(wings)), wings[::-1])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    save(figure, path)
