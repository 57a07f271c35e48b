"""How Sphinx makes the site of the pages that build.py laid out."""

import inspect
import re
import warnings

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from fastcore.docments import docments
from pydantic import BaseModel

import i2v_lab

warnings.filterwarnings("ignore", "Unknown section", UserWarning)  # docments reads the docstrings of torch, too

project, author = "i2v_lab", "The i2v_lab authors"
copyright = author
release = version = i2v_lab.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["README.md"]  # its sections are parts of other pages
default_role = "literal"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "model_config"}
autodoc_inherit_docstrings = False  # those of torch and click are in a markup of their own
autodoc_preserve_defaults = True
autodoc_use_type_comments = False
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries = False

html_theme = "sphinx_book_theme"
html_title = "i2v_lab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_domain_indices = False
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "collapse_navbar": True,
    "navbar_persistent": [],
    "show_toc_level": 2,
    "home_page_in_toc": True,
}
linkcheck_timeout, linkcheck_retries = 20, 2
linkcheck_anchors = False  # many sites make theirs with scripts

copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True


def restructured(text: str) -> str:  # of a docstring or a comment, where `x` is code and nothing else is markup
    """Write plain text with code in backticks as reST."""
    parts = text.split("`")
    return "".join(f"``{p}``" if i % 2 else re.sub(r"([*|_\\])", r"\\\1", p) for i, p in enumerate(parts))


def comments_of(obj) -> dict[str, str]:
    """What is said of each parameter, and of the result, beside the signature or in a field."""
    if inspect.isclass(obj) and issubclass(obj, BaseModel):
        return {name: field.description or "" for name, field in obj.model_fields.items()}
    if not (getattr(obj, "__module__", None) or "").startswith("i2v_lab"):
        return {}
    try:
        return docments(obj)
    except (OSError, AttributeError):  # what was not written in a file has no comments
        return {}


def explain(app, what, name, obj, options, lines) -> None:
    """Add to a docstring what the comments beside the parameters say."""
    lines[:] = [restructured(line) for line in lines]
    if what == "module" or not (inspect.isclass(obj) or inspect.isroutine(obj)):
        return
    said = {key: restructured(comment) for key, comment in comments_of(obj).items() if comment}
    result = said.pop("return", None)
    lines += ["", *(f":param {key}: {comment}" for key, comment in said.items())]
    lines += [f":returns: {result}"] if result else []


def skip(app, what, name, obj, skipping, options) -> bool | None:
    """Leave fields out: they are parameters of their class already."""
    plain = not (inspect.isroutine(obj) or inspect.isclass(obj) or isinstance(obj, property))
    return True if what == "class" and plain else None


def plainer(app, what, name, obj, options, signature, returned) -> tuple[str | None, str | None]:
    """Write a default that is made anew as `...`: `<factory>` is no Python, so Sphinx could not read the signature."""
    return (signature or "").replace("<factory>", "...") or None, returned


def mathml(inline: bool):
    """Let the browser draw formulas, which needs neither a script nor the network."""

    def visit(self, node) -> None:
        formula = tex2mathml(node.astext(), as_block=not inline)
        self.body.append(formula if inline else f'<div class="formula">{formula}</div>')
        raise SkipNode

    return visit


def setup(app) -> None:
    app.connect("autodoc-process-docstring", explain)
    app.connect("autodoc-process-signature", plainer)
    app.connect("autodoc-skip-member", skip)
    app.add_html_math_renderer("mathml", (mathml(inline=True), None), (mathml(inline=False), None))
