"""What is told of files."""

import pytest

from csgnn_dgl.notes import note, notes_together
from pipelines.terminal import guarded


def test_a_note_names_its_file(caplog: pytest.LogCaptureFixture) -> None:
    note("a.csv", "two columns were passed over")
    assert caplog.messages == ["a.csv: two columns were passed over"]


def test_notes_about_many_files_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with notes_together("folder"):
        for name in ("folder/a.csv", "folder/b.csv", "folder/c.csv"):
            note(name, "two columns were passed over")
        note("folder/b.csv", "one point was left out")
        assert not caplog.messages
    assert caplog.messages == [
        "folder: two columns were passed over (3 files, such as a.csv)",
        "folder/b.csv: one point was left out",
    ]


def test_notes_are_told_even_when_reading_fails(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="broken"), notes_together("folder"):
        note("a.csv", "resampled")
        raise ValueError("broken")
    assert caplog.messages == ["a.csv: resampled"]


def test_programs_print_notes_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> int:
        note("a.csv", "two columns were passed over")
        return 0

    for _ in range(2):
        assert guarded(program) == 0
        found = capsys.readouterr()
        assert (found.out, found.err) == ("", "note: a.csv: two columns were passed over\n")
