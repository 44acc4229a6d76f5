import pytest

from csgnn_dgl.notes import note
from pipelines import dos
from pipelines.__main__ import main, programs
from pipelines.terminal import guarded


def test_every_program_is_listed_with_what_it_does(capsys):
    assert main(["--help"]) == main([]) == 0
    shown = capsys.readouterr().out
    assert {"audit", "build-kernels", "classify", "compare", "dos", "modelnet", "publish"} <= set(programs())
    assert not {"cli", "options", "terminal"} & set(programs())
    for name, text in programs().items():
        assert f"  {name:<15}{text}\n" in shown
    assert "Train and test classifiers of point clouds." in shown


def test_a_program_gets_its_words_and_its_name(monkeypatch):
    monkeypatch.setattr(dos, "main", lambda words, program: len(words) if program == "csgnn dos" else 0)
    assert main(["dos", "fit", "--x", "1"]) == 3


def test_a_note_is_told_once(monkeypatch, capsys):
    def tell() -> int:
        note("file", "taken for meters")
        return 0

    monkeypatch.setattr(dos, "main", lambda words, program: guarded(tell))
    assert main(["dos"]) == 0
    assert capsys.readouterr().err == "note: file: taken for meters\n"


def test_programs_say_how_they_were_called(capsys):
    with pytest.raises(SystemExit):
        main(["dos", "table", "--help"])
    assert "usage: csgnn dos table" in capsys.readouterr().out


def test_other_names_are_refused(capsys):
    assert main(["cli"]) == 2
    known = ", ".join(programs())
    assert capsys.readouterr().err == f"error: 'cli' is no program; give one of {known}\n"
