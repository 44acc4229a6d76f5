import io

import pytest

import configs
from csgnn_dgl.errors import InputError, one_sentence
from pipelines.terminal import guarded, say


def test_errors_of_the_user_end_with_code_2_and_one_line(capsys):
    def fail():
        raise InputError("the file\n   is bad")

    assert guarded(fail) == 2
    assert capsys.readouterr().err == "error: the file is bad\n"


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupt_ends_with_code_130(end, capsys):
    def stop():
        raise end

    assert guarded(stop) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_help_ends_as_it_wants():
    def end():
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        guarded(end)


def test_errors_of_the_programmer_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


def test_success_keeps_its_code():
    assert guarded(lambda: 0) == 0


def test_only_the_first_process_speaks(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    say("second")
    monkeypatch.setenv("RANK", "0")
    say("first")
    assert capsys.readouterr().out == "first\n"


def test_sentences_are_folded():
    assert one_sentence(" a\n\t b ") == "a b"


def test_configs_are_found_from_the_working_folder_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packaged = configs.FOLDER / "modelnet" / "quick.yaml"
    for name in ("modelnet/quick.yaml", "configs/modelnet/quick.yaml", "modelnet/quick"):
        assert configs.find(name) == packaged
    own = tmp_path / "configs" / "modelnet" / "quick.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    assert configs.find("configs/modelnet/quick.yaml").resolve() == own
    with pytest.raises(FileNotFoundError, match="absent.yaml: there is no such config file.*modelnet/quick.yaml"):
        configs.find("absent.yaml")


def test_letters_that_the_terminal_lacks_stop_no_program(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", screen)

    def program():
        say("碳 – 12")
        return 0

    assert guarded(program) == 0
    screen.flush()
    assert screen.buffer.getvalue() == b"? ? 12\n"
