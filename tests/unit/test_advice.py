"""`tercet.advice`: what a person and a program are told."""

from __future__ import annotations

import html.parser
import json
from typing import Any

import pytest

from tercet.advice import Advice


def verdict(remedy: str = "threading", **more: Any) -> dict[str, Any]:
    return {
        "remedy": remedy,
        "workers": 24,
        "speedup": 9.1,
        "bound": None,
        "confidence": 0.9,
        "sentence": "a task waits 94 % of its time: overlap the waits in threads",
        "reasons": [
            {"weight": 0.94, "text": "94 % of a task is waiting"},
            {"weight": 0.06, "text": "6 % is computing"},
        ],
        "predictions": [
            {"model": "threads", "workers": 8, "speedup": 6.0, "bound": None},
            {"model": "threads", "workers": 24, "speedup": 9.1, "bound": None},
            {"model": "threads", "workers": 64, "speedup": 9.2, "bound": None},
            {"model": "processes", "workers": 2, "speedup": 1.9, "bound": None},
            {"model": "event-loop", "workers": 24, "speedup": 9.0, "bound": None},
        ],
        **more,
    }


def profile(**shares: float) -> dict[str, Any]:
    named = {kind.replace("_", "-"): share for kind, share in shares.items()}
    return {
        "shares": named or {"network": 0.94, "cpu-gil": 0.06},
        "tasks": {"wall_s": 0.0231, "is_coroutine": False},
        "machine": {"cores": 2, "has_gil": True},
    }


def advice(**more: Any) -> Advice:
    known: dict[str, Any] = {
        "items": 120,
        "done": 120,
        "model": "threads",
        "workers": 24,
        "profile": profile(),
        "verdict": verdict(),
        "elapsed_s": 0.31,
        "in_a_row_s": 2.9,
        "is_final": True,
    }
    return Advice("fetch", **{**known, **more})


def test_it_says_what_was_seen_chosen_predicted_and_what_would_change_it() -> None:
    assert str(advice()).splitlines() == [
        "map(fetch, 120 items): 24 threads, 310 ms (in a row about 2.9 s, x9.4)",
        "  seen:        23.1 ms a task: 94% waiting for the network, 6% computing with the GIL",
        "  verdict:     a task waits 94 % of its time: overlap the waits in threads",
        "  predicted:   24 threads x9.1 | 2 processes x1.9 | event loop: `fetch` is no coroutine function",
        "  because:     94 % of a task is waiting",
        "  and:         6 % is computing",
        "  would change: more computing with the GIL than 6% of a task, which bounds threads at x17",
    ]


def test_before_anything_is_known_there_is_one_line() -> None:
    empty = Advice("fetch", items=3)
    assert str(empty) == "map(fetch, 3 items): the plain loop"
    assert (empty.remedy, empty.speedup, empty.achieved, empty.reasons) == ("cannot-tell", None, None, ())


def test_an_unknown_number_of_items_is_said_as_such() -> None:
    assert str(advice(items=None, done=7)).startswith("map(fetch, 7 items so far): 24 threads")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"model": "plain"}, "map(fetch, 120 items): the plain loop"),
        ({"model": "processes", "workers": 1}, "map(fetch, 120 items): 1 process, 310 ms"),
        ({"model": "event-loop", "workers": 10_000}, "map(fetch, 120 items): the event loop, 10,000 at a time, 310 ms"),
    ],
)
def test_every_choice_has_its_words(more: dict[str, Any], line: str) -> None:
    assert str(advice(**more)).splitlines()[0].startswith(line)


def test_coroutines_are_told_of_the_loop_alone() -> None:
    seen = profile()
    seen["tasks"]["is_coroutine"] = True
    assert "predicted:   event loop x9.0" in str(advice(model="event-loop", profile=seen))


def test_why_the_work_stayed_is_told_with_what_would_change_it() -> None:
    text = str(advice(model="plain", profile=profile(cpu_gil=1.0), notes=("no processes: it writes the global `X`",)))
    assert "  note:        no processes: it writes the global `X`" in text
    assert "`pure=True`" in text
    assert "more work in each task" in str(advice(model="plain", profile=profile(cpu_gil=1.0)))


def test_its_figures_are_those_of_the_verdict_and_of_the_run() -> None:
    it = advice(notes=("a note",))
    assert (it.remedy, it.speedup, it.workers) == ("threading", 9.1, 24)
    assert it.achieved == pytest.approx(2.9 / 0.31)
    assert advice(model="plain").achieved == 1.0
    assert it.reasons == ("94 % of a task is waiting", "6 % is computing", "a note")


def test_it_is_plain_data_for_json() -> None:
    found = json.loads(json.dumps(advice().to_dict()))
    assert found["remedy"] == "threading"
    assert found["profile"]["tasks"]["wall_s"] == 0.0231
    assert found["is_final"] is True


def test_it_cannot_be_changed() -> None:
    it = advice()
    with pytest.raises(AttributeError, match="`model` cannot be changed"):
        it.model = "plain"
    with pytest.raises(AttributeError):
        del it.model  # type: ignore[misc]
    with pytest.raises(TypeError):
        it.profile["shares"] = {}  # type: ignore[index]


class Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_in_a_notebook_every_text_is_escaped() -> None:
    page = advice(notes=("<script>alert(1)</script> & co",), verdict=verdict(sentence="a <b> in it"))._repr_html_()
    reader = Reader()
    reader.feed(page)
    assert reader.tags == {"table", "caption", "tr", "th", "td"}
    assert "<script>alert(1)</script> & co" in reader.text
    assert "a <b> in it" in reader.text
    assert "http" not in page
