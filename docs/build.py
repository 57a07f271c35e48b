"""Build the site, offline: `make docs`. Pages are laid out in build/docs/source, and the site lies in build/docs/html.

Nothing is said twice: pages come from the notebooks, the README and the model card; `docs/*.md` says what these do not.
"""

import ast
import gc
import inspect
import re
import sys
from collections import defaultdict
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import shorten

import nbformat
from house import FLOOR, IMPORTS, draw_house, draw_imports
from sphinx.cmd.build import main as sphinx

import i2v_lab
from i2v_lab.pipeline.extension import STAGES, Extension, options_of
from i2v_lab.pipeline.registry import extension_names, find_extension, place_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SITE = ROOT / "build" / "docs" / "source", ROOT / "build" / "docs" / "html"
COPIED = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/CREDITS.md", "i2v_lab/weights/MODEL_CARD.md")
HIDDEN = {"hide", "default_exp"}  # directives of cells that no reader needs

DIRECTIVES = re.compile(r"\A(?:#\|.*(?:\n|\Z))+")  # the first lines of a cell
CODE = re.compile(r"(?<!\[)`([\w./]+)`(?!\])")  # in prose, and not a link already


# ---- what there is

NOTEBOOKS = sorted(
    p.relative_to(ROOT) for p in (ROOT / "nbs").rglob("[!.]*.ipynb") if ".ipynb_checkpoints" not in p.parts
)
PAGES = [path for path in NOTEBOOKS if path.name != "index.ipynb"]  # that one is the README


@cache
def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / path, as_version=4)


def module_of(path: Path) -> str | None:
    """The module that a notebook is exported to."""
    found = re.search(r"^#\|\s*default_exp\s+(\S+)", "\n".join(c.source for c in read(path).cells), re.MULTILINE)
    return f"i2v_lab.{found[1]}" if found else None


def heading_of(path: Path) -> tuple[str, str]:
    """The title and the subtitle of a notebook."""
    title, _, subtitle, *_ = [*read(path).cells[0].source.splitlines(), "", "", ""]
    return title.removeprefix("# "), subtitle.removeprefix("> ")


ROOMS = {module: path for path in PAGES if (module := module_of(path))}
EXTENSIONS = {name: find_extension(name) for name in extension_names() if place_of(name) == "built-in"}


def find(place: str):
    """What is defined at a place such as `i2v_lab.core.clip.Clip`."""
    module, _, name = place.rpartition(".")
    return getattr(import_module(module), name)


@cache
def names() -> dict[str, str]:
    """Where a public name is defined, for names that exist once."""
    places = defaultdict(set)
    for module in ROOMS:
        for name in import_module(module).__all__:
            places[name].add(f"{module}.{name}")
    return {name: next(iter(found)) for name, found in places.items() if len(found) == 1}


# ---- pages


def linked(
    text: str,  # Markdown
    but: frozenset[str] = frozenset(),  # names that mean something else here
) -> str:
    """Make links of names in backticks: extensions, public names, notebooks."""

    def link(found: re.Match) -> str:
        name = found[1].removeprefix("lab.")
        first, _, member = name.partition(".")
        if name in but:
            return found[0]
        if name in EXTENSIONS:
            return f"[`{name}`](/{ROOMS[EXTENSIONS[name].__module__]})"
        if name in names() and re.search(r"_|[a-z][A-Z]|^[A-Z][a-z]", name):  # not every word that is a name, too
            return f"{{py:obj}}`{found[1]} <{names()[name]}>`"
        if member and first in names() and callable(getattr(find(names()[first]), member, None)):
            return f"{{py:obj}}`{found[1]} <{names()[first]}.{member}>`"
        return f"[{found[0]}](/{name})" if Path(name) in PAGES or name in COPIED[1:] else found[0]

    parts = re.split(r"(^```.*?^```|^#.*?$)", text, flags=re.MULTILINE | re.DOTALL)  # neither in code nor in headings
    return "".join(part if i % 2 else CODE.sub(link, part) for i, part in enumerate(parts))


def only_imports(code: str) -> bool:
    return all(isinstance(node, (ast.Import, ast.ImportFrom, ast.If)) for node in ast.parse(code).body)


def page_of(path: Path) -> str:
    """A notebook as its readers see it: without directives, and without cells that only the machine needs."""
    notebook, cells = read(path).copy(), []
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    own = frozenset() if module_of(path) else frozenset(re.findall(r"^(?:def|class) (\w+)", code, re.MULTILINE))
    for cell in notebook.cells:
        given = DIRECTIVES.match(cell.source)
        said = {line.split()[1] for line in given[0].splitlines()} if given else set()
        cell = nbformat.from_dict(cell | {"source": DIRECTIVES.sub("", cell.source).strip("\n")})
        machinery = said & HIDDEN or (said & {"export", "exporti"} and only_imports(cell.source))
        if cell.cell_type == "raw" or machinery or not cell.source:
            continue
        if "echo:" in said:
            cell.metadata["tags"] = ["remove-input"]
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source, but=own)
        cells.append(cell)
    cells[1:1] = [nbformat.v4.new_markdown_cell(text, id=f"made-{i}") for i, text in enumerate(notes_on(path))]
    notebook.cells = cells
    notebook.metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    return nbformat.writes(notebook)


def notes_on(path: Path) -> list[str]:
    """What the code says that a notebook defines, to stand beneath its title."""
    module, notes = module_of(path), []
    for name, cls in EXTENSIONS.items():
        if cls.__module__ == module:
            notes.append(facts_of(name, cls))
    if module:
        notes.append(f"*Module {{py:mod}}`{module}`, made from `{path}`.*")
    return notes


def table(head: str, rows: list[list]) -> str:  # Markdown
    """A table; `head` is `a | b | c`."""
    bar = " | ".join("---" for _ in head.split("|"))
    lines = [head, bar, *(" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def wraps(cls: type[Extension]) -> str:
    """The stages that an extension overrides."""
    own = [f"`{stage}`" for stage in STAGES if getattr(cls, stage) is not getattr(Extension, stage)]
    return ", ".join(own) or "none: it works inside the networks"


def facts_of(name: str, cls: type[Extension]) -> str:
    """The options of an extension and what else it declares."""
    rows = [[f"`{o['name']}`", f"`{o['default']!r}`", o["allowed"], o["description"]] for o in options_of(cls)]
    others = lambda found: ", ".join(f"`{other}`" for other in found) or "nothing"
    return "\n\n".join([
        f"`{name}`: {'the frames stay the same, to the last bit' if cls.exact else 'the frames change'}. "
        f"Wraps {wraps(cls)}. Requires {others(cls.requires)}, conflicts with {others(cls.conflicts)}.",
        table("option | default | allowed | what it is", rows) if rows else "It has no options.",
    ])  # fmt: skip


def overview() -> str:
    """All extensions in one table."""
    rows = [
        [f"[`{name}`](/{ROOMS[cls.__module__]})", heading_of(ROOMS[cls.__module__])[1], "yes" if cls.exact else "no",
         ", ".join(f"`{o['name']}`" for o in options_of(cls)) or "none"]
        for name, cls in EXTENSIONS.items()
    ]  # fmt: skip
    return table("extension | what it does | exact | options", rows)


def toctree(pages: list[str], option: str) -> str:  # such as `:hidden:`
    return "\n".join(["```{toctree}", option, "", *pages, "```"])


def wing_page(wing: str) -> str:
    """The rooms of a wing, those that have a chapter of their own only as links."""
    paths = [path for path in PAGES if module_of(path) and module_of(path).split(".")[1] == wing]
    taken = {cls.__module__ for cls in EXTENSIONS.values()}
    rows = [
        [f"[{heading_of(p)[0]}](/{p})", heading_of(p)[1], f"{{py:mod}}`{p.stem[3:]} <{module_of(p)}>`"] for p in paths
    ]
    below = sorted({b for a, b in IMPORTS if a == wing != b}, key=FLOOR.get)
    lies = f"Floor {FLOOR[wing]} of the [house](/how_it_works.md). It imports from: {', '.join(below) or 'nothing'}."
    own = [f"/{path}" for path in paths if module_of(path) not in taken]
    return f"# {wing}\n\n{lies}\n\n{table('room | what it is about | module', rows)}\n\n{toctree(own, ':hidden:')}\n"


def reference_page(wing: str) -> str:
    """The public names of a wing's modules."""
    parts = [f"# {wing}"]
    for module in rooms_of(wing):
        room = f"Explained, shown and tested in [`{ROOMS[module]}`](/{ROOMS[module]})."
        told = [f".. automodule:: {module}", *values_of(module)]
        head = [f"## {module.removeprefix('i2v_lab.')}"] if len(rooms_of(wing)) > 1 else []
        parts += [*head, room, "```{eval-rst}", *told, "```"]
    return "\n\n".join(parts) + "\n"


def values_of(module: str) -> list[str]:  # reST
    """The public names that are neither classes nor functions, which Sphinx leaves out: constants, commands."""
    found = {name: find(f"{module}.{name}") for name in import_module(module).__all__}
    return [
        f".. py:data:: {name}\n   :value: {shorten(re.sub(r' at 0x[0-9a-f]+', '', repr(value)), 100, placeholder=' ...')}\n\n"
        f"   {' '.join((getattr(value, 'help', None) or '').split())}"
        for name, value in found.items()
        if not (inspect.isclass(value) or inspect.isroutine(value))
    ]


def short_names() -> str:
    """What `import i2v_lab as lab` gives."""
    rows = []
    for name in sorted(i2v_lab.__all__, key=str.casefold):
        obj = getattr(i2v_lab, name)
        rows.append([f"{{py:obj}}`lab.{name} <{obj.__module__}.{name}>`", (obj.__doc__ or "").split("\n")[0]])
    return table("name | what it is", rows)


def reference() -> str:
    """The first page of the reference: every public name."""
    tables = [
        f"## {wing}\n\n" + table("module | names", [[f"{{py:mod}}`{m}`", listed(m)] for m in rooms_of(wing)])
        for wing in FLOOR
    ]
    wings = toctree([f"/api/{wing}" for wing in FLOOR], ":hidden:")
    return "\n\n".join([
        "# API reference", "After `import i2v_lab as lab`:", short_names(),
        "And by module; {ref}`the index <genindex>` has all names in one list.", *tables, wings
    ])  # fmt: skip


def rooms_of(wing: str) -> list[str]:
    return [module for module in ROOMS if module.split(".")[1] == wing]


def listed(module: str) -> str:
    return ", ".join(f"{{py:obj}}`{name} <{module}.{name}>`" for name in import_module(module).__all__)


# ---- the site

MADE = {  # what a page of docs/ asks for in a line `<!-- made: ... -->`
    "table of extensions": overview,
    "list of extensions": lambda: toctree(
        [f"/{ROOMS[cls.__module__]}" for cls in EXTENSIONS.values()], ":caption: One by one"
    ),
    "list of wings": lambda: toctree([f"/rooms/{wing}" for wing in FLOOR], ":maxdepth: 1"),
    "tutorials, extensions": lambda: tutorials("1"),
    "tutorials, studies": lambda: tutorials("2"),
    "tutorials, real models": lambda: tutorials("3"),
    "tutorials, the others": lambda: tutorials("0456789"),
}


def tutorials(tens: str) -> str:  # the first digits of their numbers
    """The tutorials of a chapter."""
    pages = [f"/{path}" for path in PAGES if path.parent.name == "tutorials" and path.name[0] in tens]
    return toctree(pages, ":caption: Step by step") if pages else ""


def write(path: Path, content: str | bytes) -> None:
    """Write a page, and leave one alone that is as it should be: Sphinx then need not read it again."""
    written.add(path)
    data = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


written: set[Path] = set()


def lay_out() -> None:
    """Put all pages where Sphinx reads them, in the same folders as in the repository."""
    for path in PAGES:
        write(SOURCE / path, page_of(path))
    for path in (ROOT / "nbs" / "images").iterdir():
        write(SOURCE / path.relative_to(ROOT), path.read_bytes())
    for name in COPIED:
        write(SOURCE / name, linked((ROOT / name).read_text(encoding="utf-8")))
    for path in (ROOT / "docs").glob("*.md"):
        text = re.sub(r"^<!-- made: (.+) -->$", lambda m: MADE[m[1]](), path.read_text(encoding="utf-8"), flags=re.M)
        write(SOURCE / path.name, linked(text.replace("](../", "](/")))
    for wing in FLOOR:
        write(SOURCE / "rooms" / f"{wing}.md", wing_page(wing))
        write(SOURCE / "api" / f"{wing}.md", reference_page(wing))
    write(SOURCE / "api" / "index.md", reference())
    for name, draw in (("house.svg", draw_house), ("imports.svg", draw_imports)):
        draw(SOURCE / "images" / name)
        written.add(SOURCE / "images" / name)
    for path in [p for p in SOURCE.rglob("*") if p.is_file()]:
        if path not in written:
            path.unlink()  # of a page that is gone


def main() -> int:
    external = "--external" in sys.argv[1:]
    lay_out()
    gc.freeze()  # torch and friends are a million objects that no collection needs to look at again
    builder, target = ("linkcheck", SITE.parent / "linkcheck") if external else ("html", SITE)
    doctrees = ["-d", str(SITE.parent / "doctrees")]
    return sphinx(
        ["-b", builder, "-c", str(ROOT / "docs"), *doctrees, "-W", "--keep-going", "-q", str(SOURCE), str(target)]
    )


if __name__ == "__main__":
    sys.exit(main())
