"""The coder of the bits: the context model in integers, and a range coder.

The model is that of `lic_bench.codecs.recurrent.context`, which explains it. Each iteration is a
code of its own. What is coded moves the chances of the coefficient that it is of a little, so that
they follow an image that is unlike those of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lic_bench.codecs.recurrent.context import (
    BESIDE,
    BUCKET_BOUNDS,
    BUCKETS,
    CLASS_BOUNDS,
    CLASSES,
    PLACES,
    PREDICTION_BITS,
    Table,
    neighbours,
)
from lic_bench.codecs.recurrent.model import COEFFICIENTS
from lic_bench.errors import BitstreamError
from lic_bench.learned.compiled import compiled
from lic_bench.learned.logits import COST, DECODE, ENCODE, chance_table, decide, looked_up
from lic_bench.learned.logits import PLACES as LOGIT_BITS
from lic_bench.learned.rangecoder import (
    AT,
    PROBABILITY_BITS,
    check_end,
    decoder,
    encoder,
    finish,
    past_the_end,
)
from lic_bench.learned.surroundings import BEFORE, CLIP

Integers = NDArray[np.int32]

_SUM_BITS = 14  # binary places of what makes a feature
_FEATURE_BITS = 8  # of the clipped features
_OUT_BITS = LOGIT_BITS - _FEATURE_BITS  # of the weights behind them
_FEATURE_SHIFT = _SUM_BITS - _FEATURE_BITS
_FEATURE_MOST = CLIP << _FEATURE_BITS
_SPEED = 128  # a decision moves the logit of its kind by its surprise times this, in 2^-12
_SPEED_SHIFT = 12 - (LOGIT_BITS - PROBABILITY_BITS)
_ROOM = 8  # bytes, more than a symbol takes
_LARGEST = 1 << 20  # of sizes and thresholds
_CLASS_BOUNDS, _BUCKET_BOUNDS = np.array(CLASS_BOUNDS), np.array(BUCKET_BOUNDS)


class _Weights(NamedTuple):
    """The parts of the context model: of one iteration, where they have iterations."""

    event: Integers
    own: Integers
    """Less what class 0 adds: (9 x classes) x hidden."""
    beside: Integers
    """Likewise: (neighbours x classes) x hidden."""
    bucket: Integers
    channel: Integers
    out: Integers
    bias: Integers
    sign: Integers
    predict: NDArray[np.int64]


class BitCoder:
    """Encoder and decoder of the symbols of one network.

    Parameters
    ----------
    context
        The parameters of a `lic_bench.codecs.recurrent.context.ContextModel` by name, of half
        precision.
    table
        What is coded.

    Raises
    ------
    ValueError
        Where weights are so large that sums could exceed 32 bits, or a table makes no sense.
    """

    def __init__(self, context: Mapping[str, NDArray[Any]], table: Table) -> None:
        self.table, self._chances, self.speed = table, chance_table(), _SPEED
        self._neighbours = neighbours()
        if not ((table.chosen >= 0) & (table.chosen < COEFFICIENTS)).all():
            raise ValueError("the table names coefficients that there are not")
        if any(len(set(row)) < len(row) for row in table.chosen.tolist()):
            raise ValueError("an iteration codes a coefficient twice")
        if not max(table.value.max(), table.threshold.max()) < _LARGEST:
            raise ValueError("the table has values that are too large")

        def whole(name: str, places: int) -> NDArray[np.int64]:
            values = np.rint(context[name].astype(np.float64) * (1 << places))
            if not np.abs(values).max(initial=0) < 1 << 40:
                raise ValueError("the weights of the context model are too large to be exact")
            return np.asarray(values, np.int64)

        x = {
            name: whole(name, _SUM_BITS) for name in ("event", "own", "beside", "bucket", "channel")
        }
        out, bias, sign = (
            whole("out", _OUT_BITS),
            whole("bias", LOGIT_BITS),
            whole("sign", LOGIT_BITS),
        )
        predict = whole("predict", PREDICTION_BITS)
        total = np.abs(x["event"]).sum((0, 1, 2)) + np.abs(x["bucket"]).max(0)
        total += np.abs(x["channel"]).max((0, 1)) + 2 * np.abs(x["own"]).max(1).sum(0)
        total += 2 * np.abs(x["beside"]).max(1).sum(0)
        logit = _FEATURE_MOST * np.abs(out).sum(-1) + np.abs(bias) + np.abs(sign).max(-1)
        most = np.abs(predict).sum(0).max() * _LARGEST * table.iterations
        if max(total.max(), logit.max()) >= 1 << 29 or most >= 1 << 58:
            raise ValueError("the weights of the context model are too large to be exact")
        # What is always added is in the sums from the beginning.
        self._outset = x["own"][:, 0], x["beside"][:, 0].sum(0)
        own, beside = (x[name] - x[name][:, :1] for name in ("own", "beside"))
        parts = {
            "own": own.reshape(PLACES * CLASSES, -1),
            "beside": beside.reshape(BESIDE * CLASSES, -1),
            "bucket": x["bucket"],
        }
        shared = {key: np.ascontiguousarray(part, np.int32) for key, part in parts.items()}
        self._weights = [
            _Weights(
                event=np.ascontiguousarray(x["event"][:, t], np.int32),
                channel=np.ascontiguousarray(x["channel"][t], np.int32),
                out=np.ascontiguousarray(out[t], np.int32),
                bias=np.ascontiguousarray(bias[t], np.int32),
                sign=np.ascontiguousarray(sign[t], np.int32),
                predict=predict,
                **shared,
            )
            for t in range(table.iterations)
        ]

    def encode(self, symbols: NDArray[np.int8]) -> list[bytes]:
        """A code for each iteration, of iterations x pairs x H x W."""
        run = _Run(self, *symbols.shape[2:])
        codes = []
        for t, own in enumerate(symbols):
            state, buffer = encoder(), np.zeros(1 << 12, np.uint8)
            buffer = run.code(ENCODE, t, own.copy(), state, buffer)
            codes.append(finish(state, buffer))
        return codes

    def cost(self, symbols: NDArray[np.int8]) -> NDArray[np.float64]:
        """What each iteration should cost by the chances, in bits."""
        run = _Run(self, *symbols.shape[2:])
        costs = []
        for t, own in enumerate(symbols):
            run.cost[0] = 0
            run.code(COST, t, own.copy(), encoder(), np.zeros(1, np.uint8))
            costs.append(float(run.cost[0]))
        return np.array(costs)

    def decode(self, codes: list[bytes], height: int, width: int) -> NDArray[np.int8]:
        """Read the first iterations of `encode` back: iterations x pairs x H x W.

        Raises
        ------
        BitstreamError
            Where a code is none of an iteration: as soon as that shows.
        """
        run = _Run(self, height, width)
        found = np.zeros((len(codes), self.table.chosen.shape[1], height, width), np.int8)
        for t, code in enumerate(codes):
            buffer = np.frombuffer(code, np.uint8).copy()  # numba tells what is read-only apart
            state = decoder(buffer)
            run.code(DECODE, t, found[t], state, buffer)
            if past_the_end(state, buffer):
                raise BitstreamError("the payload ends before its last symbol")
            check_end(state, buffer)
        return found


class _Run:
    """What is known of one image."""

    def __init__(self, coder: BitCoder, height: int, width: int) -> None:
        self._coder, self._size = coder, (height, width)
        wide = (height + 2) * (width + 2)
        self._known = np.zeros((COEFFICIENTS, wide), np.int32)
        inside = np.pad(np.ones((height, width), np.int32), 2)
        near, always = coder._outset
        sums = np.zeros((height + 2, width + 2, len(always)), np.int64) + always
        for place in range(PLACES):
            i, j = divmod(place, 3)
            sums += inside[i : i + height + 2, j : j + width + 2, None] * near[place]
        self._sums = sums.reshape(wide, -1).astype(np.int32)
        self.cost = np.zeros(1)

    def code(
        self, mode: int, t: int, symbols: NDArray[np.int8], state: NDArray[np.uint64],
        buffer: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Code an iteration; a decoder fills `symbols`. Returns the buffer."""
        coder, (height, width) = self._coder, self._size
        padded = np.pad(symbols, ((0, 0), (1, 1), (1, 1))).reshape(len(symbols), -1)
        table = coder.table
        buffer = _iteration(
            mode, coder._weights[t], coder._chances, height, width, table.chosen[t],
            table.value[t], table.threshold[t], coder._neighbours, padded, self._known,
            self._sums, state, buffer, self.cost, coder.speed,
        )  # fmt: skip
        if mode == DECODE:
            symbols[:] = padded.reshape(-1, height + 2, width + 2)[:, 1:-1, 1:-1]
        return buffer


@compiled
def _class_of(size, threshold):  # type: ignore[no-untyped-def]
    found = 0
    while found < CLASSES - 1 and 4 * size > _CLASS_BOUNDS[found] * threshold:
        found += 1
    return found


@compiled
def _add(total, rows, row):  # type: ignore[no-untyped-def]
    for h in range(len(total)):
        total[h] += rows[row, h]


@compiled
def _iteration(  # type: ignore[no-untyped-def]
    mode, w, chances, height, width, chosen, value, threshold, neighbours, symbols, known, sums,
    state, buffer, cost, speed,
):  # fmt: skip
    """Code the symbols of an iteration, pairs x sites with a border; returns the buffer."""
    wide, hidden = width + 2, sums.shape[1]
    near = np.empty(PLACES, np.int64)
    for place in range(PLACES):
        near[place] = (place // 3 - 1) * wide + place % 3 - 1
    total = np.empty(hidden, np.int32)
    own, beside, bucket_rows, out = w.own, w.beside, w.bucket, w.out
    for k in range(len(chosen)):
        c, step, limit, adapted = chosen[k], value[k], threshold[k], 0
        for i in range(height):
            if mode == ENCODE and len(buffer) < np.int64(state[AT]) + _ROOM * width + 64:
                longer = np.zeros(2 * len(buffer) + _ROOM * width + 64, np.uint8)
                longer[: len(buffer)] = buffer
                buffer = longer
            elif mode == DECODE and past_the_end(state, buffer):
                return buffer
            for j in range(width):
                site = (i + 1) * wide + j + 1
                for h in range(hidden):
                    total[h] = sums[site, h] + w.channel[k, h]
                difference = np.int64(0)
                for place in range(PLACES):
                    at = site + near[place]
                    size = np.int64(known[c, at])
                    if place < BEFORE:
                        size += symbols[k, at] * step
                    if size:
                        difference += size * w.predict[place, c]
                        _add(total, own, place * CLASSES + _class_of(abs(size), limit))
                difference -= np.int64(known[c, site]) << PREDICTION_BITS
                for n in range(BESIDE):
                    other = neighbours[c, n]
                    if other >= 0 and known[other, site]:
                        size = abs(np.int64(known[other, site]))
                        _add(total, beside, n * CLASSES + _class_of(size, limit))
                kind = 0
                far = (8 * abs(difference)) >> PREDICTION_BITS
                while kind < BUCKETS - 1 and far >= _BUCKET_BOUNDS[kind] * limit:
                    kind += 1
                _add(total, bucket_rows, kind)
                logit = np.int64(0)
                for h in range(hidden):
                    x = (total[h] + (1 << (_FEATURE_SHIFT - 1))) >> _FEATURE_SHIFT
                    logit += min(max(x, 0), _FEATURE_MOST) * out[k, h]
                chance = looked_up(logit + w.bias[k] + adapted, chances)
                symbol = symbols[k, site]
                bit = decide(mode, state, buffer, cost, chance, int(symbol != 0))
                adapted += (((bit << PROBABILITY_BITS) - chance) * speed) >> _SPEED_SHIFT
                if bit:
                    chance = looked_up(np.int64(w.sign[k, kind]), chances)
                    same = int((symbol > 0) == (difference >= 0))
                    same = decide(mode, state, buffer, cost, chance, same)
                    symbols[k, site] = 1 if (same == 1) == (difference >= 0) else -1
        for i in range(height):
            for j in range(width):
                site = (i + 1) * wide + j + 1
                if symbols[k, site]:
                    for place in range(PLACES):
                        at = site - near[place]
                        for h in range(hidden):
                            sums[at, h] += w.event[place, k, h]
    for k in range(len(chosen)):
        for site in range(known.shape[1]):
            known[chosen[k], site] += symbols[k, site] * value[k]
    return buffer
