"""Write README.md from nbs/index.ipynb: `make readme`."""

import posixpath
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert.exporters import MarkdownExporter
from nbconvert.preprocessors import TagRemovePreprocessor

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "nbs" / "index.ipynb"
README = ROOT / "README.md"
FIGURES = ROOT / "README_files"  # pictures that the notebook's cells gave
NOTE = "<!-- made from nbs/index.ipynb by `make readme`; edit the notebook -->"

_DIRECTIVE = re.compile(r"^#\|\s*(.*?)\s*$", re.MULTILINE)
_LINK = re.compile(r"(\]\(|(?:src|href)=\")([^)\"\s]+)")


def relink(
    target: str,  # of a link in a notebook of `nbs`
) -> str:  # the same, as seen from the repository's root
    """Correct a relative link for a file that moves one folder up."""
    if target.startswith(("#", "/", f"{FIGURES.name}/")) or re.match(r"[a-z][a-z0-9+.-]*:", target):
        return target
    return posixpath.normpath(posixpath.join("nbs", target))


def shown(cell: nbformat.NotebookNode) -> bool:
    """Tell whether a reader of the README is to see this cell."""
    directives = {part for found in _DIRECTIVE.findall(cell.source) for part in found.replace(":", " ").split()[:1]}
    return cell.cell_type != "raw" and not directives & {"hide", "default_exp"} and bool(cell.source.strip())


def markdown(
    notebook: nbformat.NotebookNode,
) -> tuple[str, dict[str, bytes]]:  # the text, and its pictures by file name
    """Make the README of a notebook."""
    notebook.cells = [cell for cell in notebook.cells if shown(cell)]
    for cell in notebook.cells:
        if re.search(r"^#\|\s*echo:\s*false", cell.source, re.MULTILINE):
            cell.metadata["tags"] = ["remove_input"]
        cell.source = _DIRECTIVE.sub("", cell.source).strip("\n")
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("text/html", None)
    exporter = MarkdownExporter()
    exporter.register_preprocessor("nbconvert.preprocessors.ExtractOutputPreprocessor", enabled=True)
    exporter.register_preprocessor(TagRemovePreprocessor(remove_input_tags={"remove_input"}), enabled=True)
    text, resources = exporter.from_notebook_node(
        notebook,
        resources={"unique_key": "figure", "output_files_dir": FIGURES.name},
    )
    text = _LINK.sub(lambda found: found[1] + relink(found[2]), text)
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)).strip()
    figures = {Path(name).name: data for name, data in (resources.get("outputs") or {}).items()}
    return f"{NOTE}\n\n{text}\n", figures


def main() -> None:
    """Write the README and its pictures."""
    if not INDEX.is_file():
        sys.exit(f"error: {INDEX} is missing; README.md is made from it")
    text, figures = markdown(nbformat.read(INDEX, as_version=4))
    local = [target for _, target in _LINK.findall(text) if relink(target) != target]
    if missing := [target for target in local if not (ROOT / target.partition("#")[0]).exists()]:
        sys.exit(f"error: {INDEX.name} links to what is not there (give paths as seen from nbs/): {', '.join(missing)}")
    README.write_text(text, encoding="utf-8")
    shutil.rmtree(FIGURES, ignore_errors=True)
    if figures:
        FIGURES.mkdir()
    for name, data in figures.items():
        (FIGURES / name).write_bytes(data)
    print(f"{README.name}: {len(text.splitlines())} lines, {len(figures)} pictures")


if __name__ == "__main__":
    main()
