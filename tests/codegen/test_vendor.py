"""``verify --vendor-headers``: what the compiler says with headers that the user names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from codegen import vendor
from codegen.errors import BadInputError, CodegenError
from codegen.vendor import VARIABLES, SyntaxCheck, check_syntax

HEADER = "#pragma once\nnamespace atb { struct Node { int id = 0; }; }\n"
GOOD = '#include "atb/atb_infer.h"\nint main() { atb::Node node; return node.id; }\n'
BAD = '#include "atb/atb_infer.h"\nint main() { atb::Node node; return node.ident; }\n'


@pytest.fixture(autouse=True)
def no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def headers(folder: Path, name: str = "atb/atb_infer.h", text: str = HEADER) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def written(folder: Path, **files: str) -> tuple[Path, list[str]]:
    out = folder / "out"
    (out / "model").mkdir(parents=True)
    for name, text in files.items():
        (out / "model" / f"{name}.cpp").write_text(text)
    return out, [f"model/{name}.cpp" for name in files]


def test_sources_that_fit_the_headers_are_accepted(tmp_path: Path) -> None:
    out, sources = written(tmp_path, good=GOOD)
    (check,) = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert check == SyntaxCheck("model/good.cpp", ())
    assert check.passed


def test_sources_that_do_not_fit_are_refused_with_the_compilers_words(tmp_path: Path) -> None:
    out, sources = written(tmp_path, good=GOOD, bad=BAD)
    good, bad = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert good.passed
    assert not bad.passed
    assert bad.path == "model/bad.cpp"
    (error,) = bad.errors
    assert "bad.cpp:2:" in error
    assert "error:" in error
    assert "ident" in error


def test_a_missing_header_is_named(tmp_path: Path) -> None:
    text = '#include "atb_speed/base/model.h"\n' + GOOD
    out, sources = written(tmp_path, needy=text)
    folder = headers(tmp_path / "atb")
    (check,) = check_syntax(out, sources, [folder])
    assert "atb_speed/base/model.h" in check.errors[0]
    other = headers(tmp_path / "mindie", "atb_speed/base/model.h", "#pragma once\n")
    (check,) = check_syntax(out, sources, [folder, other])
    assert check.passed


def test_only_the_first_errors_are_shown(tmp_path: Path) -> None:
    out, sources = written(tmp_path, bad=BAD.replace("return node.ident;", "a; b; c; d; e;"))
    (check,) = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert len(check.errors) == 3


def test_lines_of_source_are_not_taken_for_errors(tmp_path: Path) -> None:
    text = '#include <stdexcept>\nint main() { std::runtime_error x("y"); return x.z; }\n'
    out, sources = written(tmp_path, bad=text)
    (check,) = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert len(check.errors) == 1


def test_warnings_are_no_errors(tmp_path: Path) -> None:
    text = GOOD + '#warning "an error only in name"\n'
    out, sources = written(tmp_path, warned=text)
    (check,) = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert check.passed


def test_the_standard_is_that_of_mindie(tmp_path: Path) -> None:
    out, sources = written(tmp_path, seventeen="static_assert(__cplusplus == 201703L);\n")
    (check,) = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert check.passed


def test_nothing_is_written(tmp_path: Path) -> None:
    out, sources = written(tmp_path, good=GOOD)
    folder = headers(tmp_path / "atb")
    before = sorted(tmp_path.rglob("*"))
    check_syntax(out, sources, [folder])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("variable", VARIABLES)
def test_headers_are_found_by_the_environment_of_cann(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sources = written(tmp_path, good=GOOD)
    headers(tmp_path / "home" / "include")
    monkeypatch.setenv(variable, str(tmp_path / "home"))
    (check,) = check_syntax(out, sources, [])
    assert check.passed


def test_the_environment_does_not_replace_what_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '#include "atb_speed/base/model.h"\n' + GOOD
    out, sources = written(tmp_path, needy=text)
    headers(tmp_path / "home" / "include")
    monkeypatch.setenv("ATB_HOME_PATH", str(tmp_path / "home"))
    other = headers(tmp_path / "mindie", "atb_speed/base/model.h", "#pragma once\n")
    (check,) = check_syntax(out, sources, [other])
    assert check.passed


@pytest.mark.parametrize("value", ["", "/no/such/place"])
def test_an_environment_that_leads_nowhere_is_no_installation(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sources = written(tmp_path, good=GOOD)
    monkeypatch.setenv("ATB_HOME_PATH", value)
    with pytest.raises(BadInputError, match=r"no atb/atb_infer\.h found.*set_env\.sh.*--include"):
        check_syntax(out, sources, [])


def test_folders_without_the_headers_of_atb_are_not_enough(tmp_path: Path) -> None:
    out, sources = written(tmp_path, good="int main() { return 0; }\n")
    other = headers(tmp_path / "other", "something/else.h")
    with pytest.raises(BadInputError, match=r"no atb/atb_infer\.h found"):
        check_syntax(out, sources, [other])


def test_missing_folders_are_all_named(tmp_path: Path) -> None:
    out, sources = written(tmp_path, good=GOOD)
    folder = headers(tmp_path / "atb")
    missing = [tmp_path / "first", tmp_path / "second"]
    with pytest.raises(BadInputError) as raised:
        check_syntax(out, sources, [missing[0], folder, missing[1]])
    assert str(raised.value) == f"no such folder: {missing[0]}, {missing[1]}"
    with pytest.raises(BadInputError, match="no such folder"):
        check_syntax(out, sources, [folder / "atb" / "atb_infer.h"])  # a file


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, sources = written(tmp_path, good=GOOD)
    monkeypatch.setattr(vendor.shutil, "which", lambda name: None)
    with pytest.raises(BadInputError, match=r"needs g\+\+: install it"):
        check_syntax(out, sources, [headers(tmp_path / "atb")])


def test_what_the_user_did_wrong_is_an_input_error_and_not_a_difference(tmp_path: Path) -> None:
    """Exit code 2 is for input, 1 for what the compiler refuses: that is a result."""
    assert issubclass(BadInputError, CodegenError)
    out, sources = written(tmp_path, bad=BAD)
    with pytest.raises(BadInputError):
        check_syntax(out, sources, [])
    results: Sequence[SyntaxCheck] = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert [check.passed for check in results] == [False]


def test_messages_do_not_depend_on_the_language_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []
    run = vendor.subprocess.run

    def watched(command, **options):
        seen.append(options.get("env") or dict(os.environ))
        assert {"-std=c++17", "-fsyntax-only"} <= set(command)
        return run(command, **options)

    monkeypatch.setattr(vendor.subprocess, "run", watched)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    out, sources = written(tmp_path, bad=BAD)
    (check,) = check_syntax(out, sources, [headers(tmp_path / "atb")])
    assert "error:" in check.errors[0]
    assert [env["LC_ALL"] for env in seen] == ["C"]


def test_no_sources_no_results(tmp_path: Path) -> None:
    assert check_syntax(tmp_path, [], [headers(tmp_path / "atb")]) == []
