"""The docs: links lead somewhere, and notebooks run. (Python examples of the pages run in `tox -e docs`.)"""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from csgnn_dgl.data.atoms.formats import READERS as ATOM_READERS
from csgnn_dgl.data.clouds.formats import READERS as CLOUD_READERS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def text_of(page: Path) -> str:
    """Read a page without its code, in which brackets are no links and `#` is no heading."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "code", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    """Return the links and pictures of a page that stay within the project."""
    found = re.findall(r"\]\(<?([^)>\s]+)|\b(?:src|href)=\"([^\"]+)\"", text_of(page))
    return [link for pair in found for link in pair if link and not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """Return the names under which the headings of a page can be linked to, as code hosts make them."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        assert target.is_relative_to(ROOT), f"{page.name} links to {link}, outside of the project"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}, which has no such heading"


def test_every_format_is_in_the_page_about_data() -> None:
    page = (ROOT / "docs" / "data.md").read_text("utf-8").lower()
    for suffix in {*CLOUD_READERS, *(suffix for suffix in ATOM_READERS if suffix.count(".") == 1)}:
        assert re.search(rf"\b{suffix[1:]}\b", page), f"docs/data.md says nothing of {suffix}"


def written_by(cell: str) -> tuple[str, str]:
    """Split a cell into the file that it writes, or nothing, and its Python."""
    found = re.match(r"%%writefile (\S+)\n", cell)
    return (found[1], cell[found.end() :]) if found else ("", cell)


def imports_of(code: ast.AST) -> list[tuple[str, str]]:
    """Return the modules that are imported, each with the name that is taken from it, or nothing."""
    found = []
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())


@each_notebook
def test_the_cells_of_every_notebook_parse_and_import_what_exists(notebook: Path) -> None:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = [written_by("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    own = {Path(file).parts[0].removesuffix(".py") for file, _ in code if file}
    for _, text in code:
        for module, name in imports_of(ast.parse(text, notebook.name)):
            if module.partition(".")[0] in own:
                continue
            imported = importlib.import_module(module)
            if name and not hasattr(imported, name):
                importlib.import_module(f"{module}.{name}")


@each_notebook
def test_every_notebook_is_stored_as_it_ran(notebook: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell["outputs"]):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr", output.get("text")


@pytest.mark.slow
@each_notebook
def test_every_notebook_runs(notebook: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(notebook.parent)}}).execute()
