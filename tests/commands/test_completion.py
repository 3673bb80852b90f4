"""The script that completes command lines: made by shtab, run by bash where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dynsel.commands.completion import completion
from dynsel.commands.main import main


def test_an_unknown_shell_is_refused() -> None:
    with pytest.raises(ValueError, match="must be bash, zsh or tcsh, got 'fish'"):
        completion("fish")


def test_without_shtab_the_error_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(ImportError, match="needs shtab; install it with: pip install shtab"):
        completion("bash")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["--print_completion", shell]) == 0
    assert "selection.keep_ratio" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["recipes", ""], {"list", "copy"}),
        (["compare", "--eq"], {"--equal"}),
        (["compare", "--equal", "s"], {"steps", "samples", "seconds"}),
        (["compare", "--selectors", "rr"], {"rrd"}),
        (["fit", "--trainer.max_e"], {"--trainer.max_epochs"}),
        (["select", "--help"], {"--help", "--help_all"}),
    ],
)
def test_bash_completes(words: list[str], found: set[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    script = tmp_path / "dynsel.bash"
    script.write_text(completion("bash"))
    line = " ".join(repr(word) for word in ["dynsel", *words])
    program = f'source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _shtab_dynsel; echo "${{COMPREPLY[@]}}"'
    output = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True).stdout
    assert {*output.split()} == found
