"""The page of text and its neighbours: readable without colour, in 80 columns, and true to the JSON object."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

BUSY = """
import queue, subprocess, threading, time
def a_function_with_quite_a_long_name_for_the_table_of_lines_that_wait():
    for _ in range(10): time.sleep(0.04)
def compute():
    end = time.monotonic() + 0.4
    while time.monotonic() < end: sum(range(1000))
thread = threading.Thread(target=compute)
thread.start()
a_function_with_quite_a_long_name_for_the_table_of_lines_that_wait()
thread.join()
subprocess.run(["sleep", "0.3"])
"""


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line if not unicodedata.combining(c))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One run in each form, of a program with several waits and a long name."""
    folder = tmp_path_factory.mktemp("a folder whose name is rather long and has spaces in it, as some have")
    program = folder / "a_program_that_also_has_a_very_long_name_so_that_lines_must_be_cut.py"
    program.write_text(BUSY)
    command = [sys.executable, "-m", "tercet", "why"]
    found = {}
    for form, options in {"text": [], "json": ["--json"], "colour": ["--color", "always"]}.items():
        file = folder / f"why.{form}"
        words = [
            *command,
            *options,
            "--output",
            file,
            "--html",
            folder / "why.html",
            program,
            "--an-argument",
            "x" * 100,
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        found[form] = file.read_text()
    found["html"] = (folder / "why.html").read_text()
    return found


def test_no_line_is_wider_than_80_columns(reports: dict[str, str]) -> None:
    for form in ("text", "colour"):
        assert [line for line in ESCAPE.sub("", reports[form]).splitlines() if width(line) > 80] == []


def test_a_file_has_no_colour_of_itself(reports: dict[str, str]) -> None:
    assert "\x1b" not in reports["text"]
    assert ESCAPE.search(reports["colour"])


def test_colour_adds_nothing_but_colour(reports: dict[str, str]) -> None:
    without = ESCAPE.sub("", reports["colour"])
    headings = [line for line in reports["text"].splitlines() if line and not line.startswith(" ")]
    for heading in headings[1:-1]:
        assert heading.split(",")[0] in without


def test_the_page_has_its_parts(reports: dict[str, str]) -> None:
    text = reports["text"]
    parts = ["tercet ", "Where the time goes", "Lines that wait or compute", "Predicted speed-up", "Why"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "confidence" in text
    assert text.endswith("\n")
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_the_html_page_needs_no_network(reports: dict[str, str]) -> None:
    page = reports["html"]
    assert page.lower().startswith("<!doctype html>")
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)
    assert "@import" not in page


def test_json_is_one_line_of_ascii_safe_text(reports: dict[str, str]) -> None:
    assert reports["json"].count("\n") == 1
    report = json.loads(reports["json"])
    assert report["schema"] == 1
    assert "NaN" not in reports["json"]
    assert "Infinity" not in reports["json"]


# --- docs/json.md is the contract -----------------------------------------------------------------------------


def documented() -> dict[str, str]:
    """Each key of `docs/json.md` with its type."""
    rows = re.findall(r"^\| `([a-z_.\[\]<>]+)` \| ([a-z ]+) \|", (ROOT / "docs" / "json.md").read_text(), re.MULTILINE)
    return {key: kind for key, kind in rows if kind.split()[0] in TYPES}


TYPES = {"string": str, "number": (int, float), "integer": int, "boolean": bool, "list": list, "object": dict}


def values(value, path: str):
    """Every value at `path` of an object; `[]` steps into a list and `<kind>` into an object."""
    if not path or value is None:
        return [value] if not path else []
    first, _, rest = path.partition(".")
    name = first.removesuffix("[]")
    inside = list(value.values()) if name.startswith("<") else [value[name]]
    if first.endswith("[]"):
        inside = [entry for some in inside for entry in some]
    return [found for one in inside for found in values(one, rest)]


@pytest.mark.parametrize("key", documented())
def test_a_documented_key_is_there_with_its_type(key: str, reports: dict[str, str]) -> None:
    wanted = documented()[key]
    for value in values(json.loads(reports["json"]), key):
        if value is None:
            assert "null" in wanted
        else:
            assert isinstance(value, TYPES[wanted.split()[0]])
            assert isinstance(value, bool) == (wanted.split()[0] == "boolean")


def keys(value, path: str = "") -> set[str]:
    """Every key of an object, written as in the documentation."""
    if isinstance(value, list):
        return set().union(*(keys(entry, f"{path}[]") for entry in value if isinstance(entry, dict)), set())
    found = set()
    for name, inside in value.items():
        full = f"{path}.<kind>" if path.endswith("shares") else f"{path}.{name}".lstrip(".")
        found.add(full)
        if isinstance(inside, dict | list):
            found |= keys(inside, full)
    return found


def test_every_key_is_documented(reports: dict[str, str]) -> None:
    assert keys(json.loads(reports["json"])) <= set(documented())


def test_words_are_of_their_vocabularies(reports: dict[str, str]) -> None:
    text = (ROOT / "docs" / "json.md").read_text()
    kinds = set(re.findall(r"^\| `([a-z-]+)` \|", text.partition("### Kinds")[2].partition("##")[0], re.MULTILINE))
    report = json.loads(reports["json"])
    assert set(report["shares"]) <= kinds
    assert {line["kind"] for line in report["lines"]} <= kinds
    assert {line["origin"] for line in report["lines"]} <= {"own", "site-packages", "standard-library"}
    assert {one["model"] for one in report["predictions"]} <= {"threads", "processes", "event-loop"}
    for one in report["predictions"]:
        assert one["bound"] is None or one["speedup"] <= one["bound"] + 0.001


def test_timelines_are_equally_long(reports: dict[str, str]) -> None:
    report = json.loads(reports["json"])
    lengths = {sum(entries for _, entries in thread["timeline"]) for thread in report["threads"]}
    lengths |= {
        sum(entries for _, entries in one["gil_timeline"]) for one in report["processes"] if one["gil_timeline"]
    }
    assert len(lengths) == 1


def test_text_and_json_of_the_readme_command(tercet, write, tmp_path: Path) -> None:
    program = write("naps.py", "import time\nfor _ in range(20): time.sleep(0.05)\n")
    done = tercet("--json", "--output", tmp_path / "why.json", "--html", tmp_path / "why.html", program)
    assert (done.returncode, done.stdout) == (0, "")
    read = f"import json; print(json.load(open({str(tmp_path / 'why.json')!r}))['verdict']['remedy'])"
    assert subprocess.check_output([sys.executable, "-c", read], text=True).strip() in {"threading", "asyncio"}
    assert "naps.py" in (tmp_path / "why.html").read_text()


# --- colour and progress --------------------------------------------------------------------------------------


NAPS = "import time\nfor _ in range(8): time.sleep(0.05)\n"


def test_no_escape_codes_without_a_terminal(tercet, write) -> None:
    done = tercet(write("naps.py", NAPS))
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("variables", "options", "coloured"),
    [
        ({}, [], True),
        ({"NO_COLOR": "1"}, [], False),
        ({}, ["--color", "never"], False),
        ({"NO_COLOR": "1"}, ["--color", "always"], True),
        ({"TERM": "dumb"}, [], False),
    ],
)
def test_colour_in_a_terminal(variables: dict[str, str], options: list[str], coloured: bool, start, write) -> None:
    clean = {
        name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"}
    }
    env = {**clean, "TERM": "xterm-256color", **variables}
    running = start(*options, write("naps.py", NAPS), terminal=True, env=env)
    printed = running.read_rest()
    assert running.wait() == 0
    report = printed[printed.rindex("tercet ") :]
    assert bool(re.search(r"\x1b\[[0-9;]*m", report)) == coloured
    if variables.get("TERM") == "dumb":
        assert "\x1b" not in printed


def test_a_terminal_that_knows_no_unicode(tercet, write) -> None:
    env = {**os.environ, "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = tercet(write("naps.py", NAPS), env=env, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")


def test_names_from_the_program_cannot_steer_the_terminal(tercet, write, tmp_path: Path) -> None:
    text = "def f():\\n for _ in range(12): time.sleep(.05)"
    name = "\\x1b[2Jevil\\u202e\\n\\r.py"
    text = f"import time\nexec(compile('{text}', '{name}', 'exec'))\nf()\n"
    program = write("evil.py", text)
    plain = tercet("--html", tmp_path / "why.html", program)
    assert plain.returncode == 0
    for mark in ("\x1b", "\u202e", "\r"):
        assert mark not in plain.stdout
        assert mark not in (tmp_path / "why.html").read_text()
        assert mark not in tercet("--json", program).stdout


def test_a_narrow_terminal_is_no_harm(start, write) -> None:
    running = start(write("naps.py", NAPS), terminal=True, env={**os.environ, "COLUMNS": "20", "LINES": "3"})
    running.read_rest()
    assert running.wait() == 0


# --- help -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["why", "--help"], ["why", "-h"], ["--help"], ["help"], ["help", "why"]])
def test_help_fits_the_screen(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tercet", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) > 100] == []


def test_help_names_every_option_and_exit_code(tercet) -> None:
    text = " ".join(tercet("--help").stdout.split())
    for option in ("--module", "--pid", "--seconds", "--hz", "--python", "--json", "--output", "--html", "--color"):
        assert option in text
    for meaning in (
        "1 the report failed",
        "2 wrong words",
        "3 the process could not be watched",
        "4 too little",
        "128 + N",
    ):
        assert meaning in text
    assert "[default: 100]" in text


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tercet", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"tercet \d+\.\d+\.\d+\S*\n", done.stdout)
