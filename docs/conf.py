"""The documentation site: ``tox -e site`` builds it into ``build/site``, and any warning fails the build."""

import inspect
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext import autosummary

import csgnn_dgl

project = "csgnn_dgl"
author = "the csgnn_dgl contributors"
project_copyright = author
version = release = csgnn_dgl.__version__

extensions = [
    "myst_nb",  # pages in Markdown, and notebooks as they are stored
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas without internet
    "sphinx_copybutton",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}  # autosummary writes the first
exclude_patterns = ["**/.ipynb_checkpoints"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"csgnn_dgl {version}"
html_copy_source = False
html_show_sourcelink = False

nb_execution_mode = "off"  # tox -e notebooks runs them; here they stand as they are stored
myst_heading_anchors = 4  # headings have the names that code hosts give them
myst_enable_extensions = ["dollarmath"]

autosummary_ignore_module_all = False
autosummary.WELL_KNOWN_ABBREVIATIONS = (*autosummary.WELL_KNOWN_ABBREVIATIONS, "Eq.", "Fig.", "Sec.")  # end no sentence
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Shapes", "notes_style")]
default_role = "py:obj"  # `name` in a docstring is a link where there is such a name


def name_what_is_elsewhere(app: Sphinx, page: nodes.document) -> None:
    """Turn links to folders, and to Markdown files that are no pages of the site, into plain text."""
    for link in list(page.findall(pending_xref)):
        outside = not link.get("refdomain") and (
            link["reftarget"].startswith("..") or link["reftarget"].endswith(".md")
        )
        if outside or (link.get("refdomain") == "doc" and link["reftarget"] not in app.env.found_docs):
            link.replace_self(link.children)


def leave_out_what_is_not_ours(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Have the reference leave out methods that a class has from torch, Lightning or Python."""
    function = member.fget if isinstance(member, property) else member
    if inspect.isroutine(function) and not (getattr(function, "__module__", None) or "").startswith("csgnn_dgl"):
        return True
    return None


def follow_shortcuts(
    app: Sphinx, env: BuildEnvironment, link: pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Lead links to names of ``csgnn_dgl`` itself to the package in which the reference lists them."""
    name = link["reftarget"].removeprefix("csgnn_dgl.")
    value = getattr(csgnn_dgl, name) if name in csgnn_dgl.__all__ else None
    if link.get("refdomain") != "py" or not hasattr(value, "__qualname__"):
        return None
    target = f"{value.__module__}.{value.__qualname__}"
    return env.get_domain("py").resolve_xref(env, link["refdoc"], app.builder, link["reftype"], target, link, content)


def setup(app: Sphinx) -> None:
    """Have Sphinx call what stands above."""
    app.connect("doctree-read", name_what_is_elsewhere)
    app.connect("missing-reference", follow_shortcuts)
    app.connect("autodoc-skip-member", leave_out_what_is_not_ours)
