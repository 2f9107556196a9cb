"""Studies, answers and pages that somebody made to do harm; tests/fuzz has those made by chance."""

import http.client
import json
import os
import sys
import threading
from pathlib import Path

import pytest
from command import command
from hostile_answers import answered, session, small_study

from lic_bench import LicBenchError, SpecError, UndefinedError
from lic_bench.rating import answers, judged, serving
from lic_bench.rating.page import html
from lic_bench.rating.results import of_store
from lic_bench.rating.scores import scores, tally
from lic_bench.rating.study import Study
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.ratings import Ratings

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e[/x]$\\evil$<script>alert(1)</script>"


def stored(folder: Path, study: Study, raters: int = 3) -> Path:
    """A store with a study, and so many raters' answers."""
    with Ratings(folder / FILE_NAME) as ratings:
        ratings.add_study(study.id, study.text())
        for number in range(raters):
            content = json.dumps(session(study, f"r{number}", seed=number)).encode()
            answers.add(ratings, study, answers.parse(content, "x"), "x")
    return folder


def test_names_in_a_study_steer_neither_terminal_nor_figure(tmp_path: Path) -> None:
    """Codecs, images and data set are called what their sender liked; `[/x]` was a traceback."""
    study = small_study(
        (f"{EVIL}1", f"{EVIL}2", f"{EVIL}3"), (f"{EVIL}a", f"{EVIL}b"),
        dataset=EVIL, target=EVIL, title=EVIL, command=EVIL,
    )  # fmt: skip
    with Store(stored(tmp_path, study) / FILE_NAME) as store:
        [shown] = of_store(store)
    assert shown["scores"][0]["codec"].startswith(EVIL)
    figure, written = tmp_path / "p.png", tmp_path / "o.json"
    said = command("rate", "show", tmp_path, "--plot", figure, "--out", written)
    assert "evil" in said.stdout and said.code == 0
    assert not {"\x1b", "\x07", "\u202e"} & {*said.stdout, *said.stderr}
    assert figure.stat().st_size > 1000


def test_what_raters_say_steers_no_terminal(tmp_path: Path) -> None:
    study = small_study()
    sent = session(study, EVIL[:50], seed=9) | {"remark": EVIL}
    stored(tmp_path, study)
    said = command("rate", "add", answered(tmp_path, sent, "a.json"), "--out", tmp_path)
    said_later = command("rate", "show", tmp_path, "--remarks")
    both = said.stdout + said.stderr + said_later.stdout + said_later.stderr
    assert "script" in both
    assert not {"\x1b", "\x07", "\u202e"} & {*both}


def test_a_hundred_thousand_marked_pairs_are_looked_up_at_once(tmp_path: Path) -> None:
    """Each trial went through all of them."""
    study = small_study(unequal=tuple((i, i + 1) for i in range(99_000)))
    assert len(study.marked) == 99_000
    with Ratings(stored(tmp_path, study) / FILE_NAME, reading=True) as ratings:
        assert judged.judged(ratings, study).trials["unequal"].any()


def test_more_codecs_than_there_can_be_scores_of(tmp_path: Path) -> None:
    """The table of 5 000 codecs' pairs would take 300 MB for each rater."""
    study = small_study(tuple(f"c{i}" for i in range(4500)))
    with Ratings(stored(tmp_path, study, raters=1) / FILE_NAME, reading=True) as ratings:
        found = judged.judged(ratings, study)
    with pytest.raises(UndefinedError, match="4500 codecs"):
        tally(found.counted)
    assert scores(tally(judged_of(tmp_path / "small", small_study()))).codecs


def judged_of(folder: Path, study: Study):  # type: ignore[no-untyped-def]
    folder.mkdir()
    with Ratings(stored(folder, study) / FILE_NAME, reading=True) as ratings:
        return judged.judged(ratings, study).counted


def test_a_page_that_is_none_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "study.html")
    with pytest.raises(SpecError, match="no file"):
        html.study_in(tmp_path / "study.html")


@pytest.mark.skipif(sys.platform == "win32", reason="makes a pipe")
def test_answers_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(LicBenchError, match="no file"):
        answers.read(tmp_path / "a.json")


def test_a_served_page_of_others_runs_no_script_of_theirs(tmp_path: Path) -> None:
    """Its own policy is theirs, too; the server's holds beside it."""
    study = small_study()
    page = tmp_path / "study.html"
    page.write_text(f'<script>fetch("//x")</script>{{"study":"{study.id}"')
    server, address = serving.server(page, serving.Desk(stored(tmp_path, study) / FILE_NAME, study))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        port = server.server_address[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", address.split(str(port))[1])
        policy = connection.getresponse().headers["Content-Security-Policy"]
        connection.close()
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'" and rules["connect-src"] == "'self'"
        assert rules["script-src"].startswith("'sha256-") and " " not in rules["script-src"]
        # A length of 5 000 digits was a traceback on the server's terminal.
        connection.putrequest("POST", address.split(str(port))[1] + "answers?position=1")
        for name, text in (
            ("Origin", address.rsplit("/", 2)[0]), ("Content-Type", "application/json"),
            ("Content-Length", "9" * 5000),
        ):  # fmt: skip
            connection.putheader(name, text)
        connection.endheaders()
        assert connection.getresponse().status == 413
    finally:
        server.shutdown()
        server.server_close()
