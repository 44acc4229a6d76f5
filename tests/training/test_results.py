import json

import pytest
from matplotlib.figure import Figure

from csgnn_dgl.errors import InputError
from csgnn_dgl.training import Results
from csgnn_dgl.training.report import Section, markdown_list, markdown_table
from csgnn_dgl.training.results import VERSION


@pytest.fixture
def results():
    main = Section("| a |", [{"name": "m", "value": (1, 2.5)}], "What a is.", figures={"a.png": ("An a", Figure())})
    more = {"extra": Section("| b |", {"b": 3}, title="More", figures={"b.png": ("A b", Figure())})}
    models = {"m": {"model": "agni", "training": {"seed": 3}}}
    return Results.of("toy", models, {"test_source": "x"}, main, more, {"validation/loss": 0.5})


def test_results_are_kept_as_json_text_and_figures(results, tmp_path, figures):
    file = results.write(tmp_path / "out")
    content = json.loads(file.read_text())
    assert content == {
        "version": VERSION,
        "task": "toy",
        "models": {"m": {"model": "agni", "training": {"seed": 3}}},
        "facts": {"test_source": "x"},
        "rows": [{"name": "m", "value": [1, 2.5]}],
        "details": {"extra": {"b": 3}, "validation/loss": 0.5},
        "report": "| a |\n\nWhat a is.\n\n## More\n\n| b |",
    }
    again = Results.read(file)
    assert (again.rows, again.models, str(again)) == (results.rows, results.models, str(results))
    text = (tmp_path / "out" / "results.md").read_text()
    places = [
        text.index(part) for part in ("# Test", "| a |", "- m:", "- test source: x", "(a.png)", "## More", "(b.png)")
    ]
    assert places == sorted(places)
    for name in ("a.png", "b.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 99}'])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"results.json .* run the test again"):
        Results.read(file)
    with pytest.raises(InputError, match="gone.json holds no results"):
        Results.read(tmp_path / "gone.json")


def test_tables_line_up():
    assert markdown_table(("a", "bbb"), [("cc", "d")]) == "| a  | bbb |\n|----|-----|\n| cc | d   |"


def test_facts_are_nested_lists():
    assert markdown_list({"a_b": 1, "c": {"d": [2], "e": {}}}) == "- a b: 1\n- c:\n  - d: [2]\n  - e: {}"
