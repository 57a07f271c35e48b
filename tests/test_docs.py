"""The site, as `make docs` builds it: every page is there, nothing on it is broken, and it needs no other machine."""

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from html import unescape
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest

from i2v_lab.pipeline.extension import options_of
from i2v_lab.pipeline.registry import extension_names, find_extension, place_of

ROOT = Path(__file__).resolve().parents[1]
DOCS, SITE = ROOT / "docs", ROOT / "build" / "docs" / "html"
CHAPTERS = "index get_started lab draw extensions studies real_models write_your_own model troubleshooting help how_it_works rooms"
NOTEBOOKS = [path.relative_to(ROOT) for path in sorted((ROOT / "nbs").rglob("*.ipynb")) if path.name != "index.ipynb"]
BUILT_IN = [name for name in extension_names() if place_of(name) == "built-in"]
NEEDED = {("script", "src"), ("link", "href"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("video", "src")}


@pytest.fixture(scope="module", autouse=True)
def site():
    """Build what is stale; a warning is an error."""
    environment = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(DOCS / "build.py")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


class Page(HTMLParser):
    """What a page is called, refers to and can be referred to, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.words, self.silent = set(), [], [], 0
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given["id"]} if given.get("id") else set()
        self.links += [(tag, key, given[key]) for key in ("href", "src") if given.get(key) is not None]
        self.silent += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.silent:
            self.words.append(data)


@cache
def page(name: str) -> Page:
    return Page(SITE / f"{name}.html")


def pages() -> list[str]:
    """All pages of the site; those of another build that is gone are not."""
    made = [p.relative_to(SITE).with_suffix("") for p in SITE.rglob("*.html") if "_static" not in p.parts]
    source = SITE.parent / "source"
    extra = ("genindex", "search")
    return [str(p) for p in made if str(p) in extra or any((source / p).parent.glob(f"{p.name}.[mi]*"))]


@pytest.mark.parametrize("name", [*CHAPTERS.split(), "api/index", "i2v_lab/weights/MODEL_CARD", "data/CREDITS"])
def test_every_chapter_is_there(name):
    assert len(page(name).text) > 400


@pytest.mark.parametrize("path", NOTEBOOKS, ids=str)
def test_every_notebook_is_a_page(path):
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    title = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
    assert title.replace("`", "") in page(str(path.with_suffix(""))).text
    html = (SITE / path.with_suffix(".html")).read_text(encoding="utf-8")
    assert '<pre><span></span><span class="c1">#|' not in html, "a directive is shown"


def test_every_page_can_be_reached():
    seen, to_do = set(), ["index"]
    while to_do:
        here = to_do.pop()
        seen.add(here)
        for tag, _, link in page(here).links:
            path = unquote(link.partition("#")[0])
            if tag == "a" and path.endswith(".html") and ":" not in path:
                there = os.path.normpath(os.path.join(os.path.dirname(here), path)).removesuffix(".html")
                to_do += [there] if there not in seen and there not in to_do else []
    assert set(pages()) - seen - {"search"} == set()


def broken(here: str, link: str) -> bool:
    """Whether a link of a page leads nowhere."""
    path, _, anchor = unquote(unescape(link)).partition("#")
    target = (SITE / here).parent / path.partition("?")[0] if path else SITE / f"{here}.html"
    if target.is_dir() or not target.exists():
        return True
    if not anchor or target.suffix != ".html":
        return False
    return anchor not in page(str(target.resolve().relative_to(SITE.resolve()).with_suffix(""))).ids


def test_no_link_leads_nowhere():
    elsewhere = re.compile(r"[a-z][a-z0-9+.-]*:|//")
    wrong = [
        f"{here}: {link}"
        for here in pages()
        for _, _, link in dict.fromkeys(page(here).links)
        if link != "#" and not elsewhere.match(link) and broken(here, link)
    ]
    assert wrong == []
    assert broken("index", "nowhere.html") and broken("index", "get_started.html#nowhere")


def test_no_page_needs_another_machine():
    remote = re.compile(r"(https?:)?//", re.IGNORECASE)
    wrong = [
        f"{here}: {link}"
        for here in pages()
        for tag, key, link in page(here).links
        if (tag, key) in NEEDED and remote.match(link)
    ]
    sheets = [
        path for path in SITE.rglob("*.css") if re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", path.read_text())
    ]
    assert (wrong, sheets) == ([], [])


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_extensions_page_has_its_options(name):
    cls = find_extension(name)
    (path,) = [
        p for p in NOTEBOOKS if p.stem[3:] == cls.__module__.rpartition(".")[2] and p.parent.name == "extensions"
    ]
    text = page(str(path.with_suffix(""))).text
    for option in options_of(cls):
        row = f"{option['name']} {option['default']!r} {option['allowed']} {option['description']}"
        assert plain(row) in plain(text)
    assert ("to the last bit" if cls.exact else "the frames change") in text
    for other in (*cls.requires, *cls.conflicts):
        assert other in text
    assert name in page("extensions").text


def plain(text: str) -> str:
    """Letters and digits; what a typesetter makes of the others is his business."""
    return re.sub(r"\W+", " ", text)


def test_every_public_name_is_in_the_reference():
    for module in sorted(path for path in (ROOT / "i2v_lab").rglob("*.py") if path.name[0] != "_"):
        dotted = ".".join(module.relative_to(ROOT).with_suffix("").parts)
        seen, index = page(f"api/{dotted.split('.')[1]}"), page("api/index").text.split()
        names = import_module(dotted).__all__
        assert {f"{dotted}.{name}" for name in names} <= seen.ids
        assert set(names) <= {word.strip(",") for word in index}


@pytest.mark.parametrize(
    ("wing", "said"),
    [
        ("extensions", "best_grid ( size : tuple [ int , int ] , max_patches : int = 256 )"),
        ("extensions", "size \N{EN DASH} (height, width) Returns: (rows, cols), rows * cols <= max_patches"),
        ("pipeline", "grid \N{EN DASH} (rows, cols), rows * cols = N"),  # of a field
        ("core", "frames per second"),
    ],
)
def test_the_reference_has_signatures_and_comments(wing, said):
    squeeze = lambda text: re.sub(r"\s", "", text)
    assert squeeze(said) in squeeze(page(f"api/{wing}").text)


def test_the_readme_is_told_in_full():
    heads = re.findall(r"^## .*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    begun = re.findall(r'^:start-after: "(## .*)"$', "\n".join(p.read_text() for p in DOCS.glob("*.md")), re.MULTILINE)
    assert len(heads) > 5 and set(heads) <= set(begun)


def test_the_house_is_drawn_whole():
    sys.path.insert(0, str(DOCS))
    import house

    assert {wing for wing in house.FLOOR if house.ROOMS[wing]} == {p.parent.name or "cli" for p in modules()} | {"cli"}
    assert all(above == below or house.leads(above, below) for above, below in house.IMPORTS)
    assert all(re.search(rf"\b{wing}\b", page("how_it_works").text) for wing in house.FLOOR)
    for name in ("house.svg", "imports.svg"):
        assert any(name in link for tag, _, link in page("how_it_works").links if tag == "img")


def modules() -> list[Path]:
    here = ROOT / "i2v_lab"
    return [p.relative_to(here) for p in here.rglob("*.py") if p.name[0] != "_" and p.parent != here]


# ---- what troubleshooting quotes


def patterns() -> list[re.Pattern]:
    """Every text of the code, with anything where a value is put in."""
    found = []
    for path in [*(ROOT / "i2v_lab").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.JoinedStr, ast.Constant)):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                texts = [p.value if isinstance(p, ast.Constant) else None for p in parts]
                if all(isinstance(t, (str, type(None))) for t in texts) and sum(len(t or "") for t in texts) > 12:
                    found.append(re.compile("".join(".*" if t is None else re.escape(t) for t in texts), re.DOTALL))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return found + [re.compile(re.escape(text)) for text in re.findall(r'echo "(error: [^"]*)"', makefile)]


QUOTED = re.findall(
    r"^ *```text\n *(.*?)\n *```", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M | re.S
)


@pytest.fixture(scope="module")
def messages():
    return patterns()


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_one_of_the_code(messages, quoted):
    assert any(pattern.fullmatch(quoted) for pattern in messages)


def test_other_messages_are_not(messages):
    assert len(QUOTED) > 20
    assert not any(p.fullmatch("the horse is not available; use another one") for p in messages)
