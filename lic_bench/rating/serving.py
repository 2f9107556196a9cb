"""The page from this machine, with answers straight into the store.

It listens on 127.0.0.1 alone, under a path that nobody can guess, and takes answers from its own
page alone: other pages that a browser has open can neither read nor write. After 50 answers pairs
are chosen where they tell most; see `lic_bench.rating.choosing`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from lic_bench.errors import ImportedResultsError, LicBenchError
from lic_bench.rating import choosing
from lic_bench.rating.answers import LARGEST, add, parse
from lic_bench.rating.judged import judged
from lic_bench.rating.page import html
from lic_bench.rating.scores import tally
from lic_bench.rating.study import Study, Trial
from lic_bench.store.ratings import Ratings

_NAME = "answers from the page"
Pictures = tuple[int, int]
"""Two pictures by their numbers: left, right."""


class Desk:
    """Takes answers in, and says what each session is asked next.

    Parameters
    ----------
    store
        The store's file; it is opened anew for each answer, so that other commands can use it.
    study
        The study that the page is of.
    """

    def __init__(self, store: Path, study: Study, seed: int = 0) -> None:
        self._store, self._study = store, study
        self._rng = np.random.default_rng(seed)
        self._lock = Lock()
        self._batch: list[tuple[str, str]] = []

    def take(self, content: bytes, position: int, pending: Collection[int] = ()) -> Pictures | None:
        """Take the answers of a session as they are so far, and choose what it is asked.

        Parameters
        ----------
        position
            The trial that is asked for.
        pending
            The pictures of the trial before it, whose answer may still be taken back, and so is not
            among the answers.

        Returns
        -------
        The pictures; nothing where the order of the session says it.

        Raises
        ------
        LicBenchError
            Where the answers are refused.
        """
        answers = parse(content, _NAME)
        with self._lock, Ratings(self._store) as ratings:
            if answers.study != self._study.id:
                raise ImportedResultsError(f"{_NAME} are of another study than is served")
            add(ratings, self._study, answers, _NAME, chosen=True)
            order = self._study.orders[answers.order]
            if not (0 < position < len(order)) or order[position].kind != "pair":
                return None
            trial = order[position]
            if Trial(trial.right, trial.left, "repeat") in order:
                return None
            counted = judged(ratings, self._study).counted
            if len(counted) < choosing.AFTER:
                return None
            shown = {
                frozenset((self._study.numbers[one.left], self._study.numbers[one.right]))
                for one in answers.trials
            }
            # So is what its order will ask in any case, and what may have been shown but not sent.
            shown |= {frozenset((one.left, one.right)) for one in order if one.kind == "pair"}
            shown.add(frozenset(pending))
            neighbours = (*pending, *(one.left for one in order[position + 1 : position + 2]))
            pictures = self._study.pictures
            near = {pictures[one].image for one in neighbours if one < len(pictures)}
            return self._choose(counted, shown - {frozenset((trial.left, trial.right))}, near)

    def _choose(self, counted: Any, shown: set[frozenset[int]], near: set[int]) -> Pictures | None:
        """A pair of the batch, on the image that it was asked on least often."""
        pictures = self._study.pictures
        times = Counter(
            frozenset((int(a), int(b)))
            for a, b in zip(counted["left_number"], counted["right_number"], strict=True)
        )
        by_codecs: dict[tuple[str, str], list[frozenset[int]]] = {}
        for pair in self._study.pairs - shown:
            one, other = sorted(pair)
            if pictures[one].image not in near:
                first, second = sorted((pictures[one].codec, pictures[other].codec))
                by_codecs.setdefault((first, second), []).append(pair)
        if not by_codecs:
            return None
        if not any(codecs in by_codecs for codecs in self._batch):
            self._batch = self._tree(counted, list(by_codecs))
        codecs = next((c for c in self._batch if c in by_codecs), None)
        if codecs is None:
            return None
        self._batch.remove(codecs)
        open_ones = by_codecs[codecs]
        least = min(times[pair] for pair in open_ones)
        rarest = [sorted(pair) for pair in open_ones if times[pair] == least]
        chosen = rarest[self._rng.integers(len(rarest))]
        left, right = chosen[:: 1 if self._rng.integers(2) else -1]
        return left, right

    def _tree(self, counted: Any, allowed: list[tuple[str, str]]) -> list[tuple[str, str]]:
        of = tally(counted)
        names = of.codecs
        places = {name: place for place, name in enumerate(names)}
        gain = choosing.gains(of.counts, of.pairs, len(names))
        known = [pair for pair in combinations(names, 2) if pair in allowed]
        indices = np.array([[places[a], places[b]] for a, b in known], dtype=np.intp)
        tree = choosing.batch(gain, indices.reshape(-1, 2))
        return [(names[min(a, b)], names[max(a, b)]) for a, b in tree]


def server(page: Path, desk: Desk, port: int = 0) -> tuple[ThreadingHTTPServer, str]:
    """A server that is to be set going, and the address of its page."""
    secret = secrets.token_urlsafe(16)
    content = html.served(page)

    class Handler(_Handler):
        pass

    made = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    made.daemon_threads = True
    origin = f"http://127.0.0.1:{made.server_address[1]}"
    Handler.page, Handler.desk, Handler.origin, Handler.path_ = (
        content,
        desk,
        origin,
        f"/{secret}/",
    )
    return made, f"{origin}/{secret}/"


class _Handler(BaseHTTPRequestHandler):
    page: bytes
    desk: Desk
    origin: str
    path_: str
    timeout = 60
    server_version, sys_version = "lic-bench", ""

    def do_GET(self) -> None:
        if self._foreign() or self.path != self.path_:
            self._reply(404, b"There is nothing here.", "text/plain")
        else:
            self._reply(200, self.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        asked = re.fullmatch(r"answers\?position=(\d{1,5})((?:&pending=\d{1,6})*)", self._rest())
        if self._foreign() or asked is None:
            self._reply(404, b"There is nothing here.", "text/plain")
        elif (
            self.headers.get("Origin") != self.origin
            or self.headers.get("Content-Type") != "application/json"
        ):
            self._reply(403, b"Answers come from the page alone.", "text/plain")
        elif re.fullmatch("[0-9]{1,9}", length) is None or int(length) > LARGEST:
            self._reply(413, b"These are no answers of a session.", "text/plain")
        else:
            try:
                pending = [int(number) for number in re.findall(r"\d+", asked[2])]
                content = self.rfile.read(int(length))
                chosen = self.desk.take(content, int(asked[1]), pending)
            except LicBenchError as error:
                self._reply(400, str(error).encode(), "text/plain; charset=utf-8")
                return
            reply = json.dumps({"next": None if chosen is None else list(chosen)})
            self._reply(200, reply.encode(), "application/json")

    def _rest(self) -> str:
        """What was asked for, below our path; nothing where it is not below that."""
        return self.path[len(self.path_) :] if self.path.startswith(self.path_) else ""

    def _foreign(self) -> bool:
        """Whether it was asked under another name, as by a page whose name was led to us."""
        return self.headers.get("Host") != self.origin.removeprefix("http://")

    def _reply(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", html.policy())
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal shows what came in otherwise."""
