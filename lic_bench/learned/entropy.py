"""Coding whole numbers with a learned context model and a range coder: exact on every machine.

The model is that of `lic_bench.learned.context`, which explains it, in integers. A decision is
coded with a chance that the decoder must find again to the last digit, on other hardware and with
other libraries: so all is integer arithmetic and a table. What is coded also moves the chances a
little (`_SPEED`), so that they follow an image that is unlike those of the training.

The loops are compiled by numba when they first run; the compiled code is kept for the next time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import BitstreamError
from lic_bench.learned.compiled import compiled
from lic_bench.learned.logits import COST, DECODE, ENCODE, chance_table, decide, looked_up
from lic_bench.learned.logits import PLACES as _LOGIT_BITS
from lic_bench.learned.pyramid import FRACTION_BITS, phases, rebuild
from lic_bench.learned.rangecoder import (
    AT,
    PROBABILITY_BITS,
    check_end,
    decoder,
    encoder,
    finish,
    past_the_end,
)
from lic_bench.learned.surroundings import (
    BEFORE,
    BUCKETS,
    CLIP,
    HEADS,
    LARGEST,
    LEVELS,
    NEAR,
    OWN,
    PREDICTION_BITS,
    REACH,
    TILE,
    Structure,
    sizes,
)

Integers = NDArray[np.int32]

_SIZE_BITS = 3  # binary places of the sizes, and of differences of means
_DIFFERENCE_SHIFT = FRACTION_BITS - _SIZE_BITS
_WEIGHT_BITS = 12  # of the weights of the hidden layer
_SUM_BITS = _WEIGHT_BITS + _SIZE_BITS  # of the sums that make a feature
_FEATURE_BITS = 8  # of the clipped features
_OUT_BITS = _LOGIT_BITS - _FEATURE_BITS  # of the weights behind them
_EXACT = 1 << 31
_SPEED = 128  # a decision moves the logit of its kind by its surprise times this, in 2^-12
_WIDTH = 64  # hidden features; loops of a known length take half of the time
_ROOM = 96  # bytes, more than a number takes
_ESCAPES = 16  # places of a number beyond the heads, at most
_RAREST = 1 << 8  # the least chance of such a place, and its most from 1

_UP, _RIGHT = (np.array(steps) for steps in zip(*OWN, strict=True))
_PLACES, _OWNS = len(NEAR), len(OWN)
_UNIT = 1 << PREDICTION_BITS
_BUCKET_BOUNDS = np.array([-(-round(100 * bound) * _UNIT // 100) for bound in BUCKETS])
_FEATURE_SHIFT = _SUM_BITS - _FEATURE_BITS
_FEATURE_HALF = 1 << (_FEATURE_SHIFT - 1)
_FEATURE_MOST = CLIP << _FEATURE_BITS
_NUMBERS = 2 * LARGEST + 1
_SPEED_SHIFT = 12 - (_LOGIT_BITS - PROBABILITY_BITS)
_SIZES = sizes(2 * LARGEST).astype(np.int32)
_HALF = 1 << (PROBABILITY_BITS - 1)


class _Weights(NamedTuple):
    """The context model in integers, as `lic_bench.learned.context` names its parts.

    What feeds the hidden layer has `_SUM_BITS` binary places after its input, what follows it
    those of a logit. Tables that are read together lie together.
    """

    table: Integers
    """`even` and `odd` in turns: (M x 9 x 2) x hidden."""
    near: Integers
    """`near_even` and `near_odd` in turns: (inputs x 2) x hidden."""
    fed: Integers
    """What each input adds for each number, -`LARGEST` to `LARGEST`: (inputs x 243) x hidden."""
    around: Integers
    within: Integers
    bucket: Integers
    phase: Integers
    channel: Integers
    point: Integers
    out: Integers
    """(M x heads) x hidden."""
    bias: Integers
    """M x heads x points."""
    bucket_bias: Integers
    """M x heads x buckets."""
    phase_bias: Integers
    """Means x heads x phases."""
    level_near: Integers
    level_point: Integers
    level_out: Integers
    level_bias: Integers
    related: Integers
    predict: Integers
    """(Channels looked at x 9) x M."""
    own: Integers
    reach: Integers
    group: Integers
    """The group of each channel, from 0."""


class ValueCoder:
    """Encoder and decoder of one context model.

    Parameters
    ----------
    context
        The parameters and buffers of a `lic_bench.learned.context.ContextModel` by name.
    form
        The structure that it was made for.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, context: Mapping[str, NDArray[Any]], form: Structure) -> None:
        self.form = form
        self._weights = _integers(context, form)
        self._chances = chance_table()
        self.speed = _SPEED

    def encode(self, v: NDArray[np.int8], point: int) -> bytes:
        """Code the numbers of M x H x W, within their reach, at an operating point."""
        state, _, buffer, _ = self._run(ENCODE, v, point, np.empty(0, np.uint8))
        return finish(state, buffer)

    def cost(self, v: NDArray[np.int8], point: int) -> float:
        """What the numbers should cost by the model's chances, in bits."""
        _, cost, _, _ = self._run(COST, v, point, np.empty(0, np.uint8))
        return float(cost.sum())

    def costs(self, v: NDArray[np.int8], point: int) -> NDArray[np.float64]:
        """What the numbers of each channel should cost, in bits; first the levels: 1 + M."""
        _, cost, _, _ = self._run(COST, v, point, np.empty(0, np.uint8))
        return cost

    def decode(self, stream: bytes, height: int, width: int, point: int) -> NDArray[np.int8]:
        """Read the numbers of `encode` back: int8, M x H x W.

        Raises
        ------
        BitstreamError
            Where the stream is too long, or so short that it ends before the numbers do: as soon
            as that shows, since whoever makes streams up can claim any size. Other damage is for
            a checksum to find.
        """
        code = np.frombuffer(stream, np.uint8).copy()  # numba tells what is read-only apart
        v = np.zeros((self.form.channels, height, width), np.int8)
        state, _, _, sound = self._run(DECODE, v, point, code)
        if not sound:
            raise BitstreamError("the payload is no code of symbols")
        check_end(state, code)
        return v

    def _run(
        self, mode: int, v: NDArray[np.int8], point: int, code: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.uint8], bool]:
        """Code tile by tile; a decoder fills `v`."""
        channels, height, width = v.shape
        state = decoder(code) if mode == DECODE else encoder()
        cost = np.zeros(1 + channels)
        buffer = np.zeros(1 << 16, np.uint8) if mode == ENCODE else code
        adapted = np.zeros((channels, HEADS), np.int32)
        escapes = np.full(_ESCAPES, _HALF, np.int32)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                part = v[:, top : top + TILE, left : left + TILE]
                buffer, sound = self._tile(mode, part, point, state, buffer, cost, adapted, escapes)
                if not sound and past_the_end(state, code):
                    raise BitstreamError("the payload ends before its last symbol")
                if not sound:
                    return state, cost, buffer, False
        return state, cost, buffer, True

    def _tile(
        self, mode: int, v: NDArray[np.int8], point: int, state: NDArray[np.uint64],
        buffer: NDArray[np.uint8], cost: NDArray[np.float64], adapted: Integers, escapes: Integers,
    ) -> tuple[NDArray[np.uint8], bool]:  # fmt: skip
        """Code a tile; a decoder fills `v`. Returns the buffer, and whether all is well."""
        channels, height, width = v.shape
        means, inner = self.form.means, (slice(REACH, -REACH), slice(REACH, -REACH))
        border = ((REACH, REACH), (REACH, REACH))
        sides = (height + 2 * REACH, width + 2 * REACH)
        numbers = np.pad(v, ((0, 0), *border)).reshape(channels, -1)
        level = np.zeros((height, width), np.uint8)
        if mode != DECODE:
            level = self.form.levels(v[None])[0]
        level = np.pad(level, border).reshape(-1)
        phase = np.pad(phases(height, width), border).reshape(-1)
        planes = np.zeros((max(means, 1), numbers.shape[1]), np.int32)
        buffer, sound = _levels(
            mode, self._weights, self._chances, point, height, width, level, state, buffer,
            cost[:1],
        )  # fmt: skip
        if not sound:
            return buffer, False
        sums, predictions = _begun(self._weights, point, height, width, level, channels)
        # Channel by channel, while these are means: what a plane tells is known once it is whole.
        for first, last in [*((c, c + 1) for c in range(means)), (means, channels)]:
            buffer, sound = _channels(
                mode, self._weights, self._chances, means, first, last, point, height, width,
                numbers, level, phase, planes, sums, predictions, state, buffer, cost, adapted,
                self.speed, escapes,
            )  # fmt: skip
            if not sound:
                return buffer, False
            if first < means:
                plane = planes[first].reshape(sides)
                plane[inner] = rebuild(numbers[first].reshape(sides)[inner])
                _tell_mean(self._weights, first, height, width, planes, level, sums, predictions)
        if mode == DECODE:
            v[:] = numbers.reshape(channels, *sides)[(slice(None), *inner)]
        return buffer, True


@compiled
def _dot(feature, out, row):  # type: ignore[no-untyped-def]
    total = np.int32(0)
    for k in range(_WIDTH):
        total = np.int32(total + feature[k] * out[row, k])
    return total


@compiled
def _clip(total, feature):  # type: ignore[no-untyped-def]
    """Sums to features."""
    for k in range(_WIDTH):
        x = np.int32(np.int32(total[k] + np.int32(_FEATURE_HALF)) >> np.int32(_FEATURE_SHIFT))
        feature[k] = min(max(x, np.int32(0)), np.int32(_FEATURE_MOST))


@compiled
def _add(total, vectors, row):  # type: ignore[no-untyped-def]
    """Add a row of some vectors."""
    for k in range(_WIDTH):
        total[k] += vectors[row, k]


@compiled
def _add_scaled(total, vectors, row, factor):  # type: ignore[no-untyped-def]
    """Add a row of some vectors times a factor."""
    factor = np.int32(factor)
    for k in range(_WIDTH):
        total[k] += factor * vectors[row, k]


@compiled
def _feed(total, at, vectors, row, factor):  # type: ignore[no-untyped-def]
    """Add a row of some vectors times a factor to a row of the sums."""
    factor = np.int32(factor)
    for k in range(_WIDTH):
        total[at, k] += factor * vectors[row, k]


@compiled
def _feed_both(total, at, vectors, row, even, odd):  # type: ignore[no-untyped-def]
    """Do so with two rows, each with a factor of its own."""
    even, odd = np.int32(even), np.int32(odd)
    for k in range(_WIDTH):
        total[at, k] += even * vectors[row, k]
        total[at + 1, k] += odd * vectors[row + 1, k]


@compiled
def _add_four(total, vectors, rows, k):  # type: ignore[no-untyped-def]
    """Add four rows of some vectors."""
    a, b, c, d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
    for k in range(_WIDTH):
        x = np.int32(vectors[a, k] + vectors[b, k])
        y = np.int32(vectors[c, k] + vectors[d, k])
        total[k] += np.int32(x + y)


@compiled
def _begin(total, sums, at, flip, channel, c, bucket, kind, within, rest):  # type: ignore[no-untyped-def]
    """The sums of a number's hidden layer without what its channel alone looks at."""
    flip = np.int32(flip)
    even, odd = 2 * at, 2 * at + 1
    for k in range(_WIDTH):
        x = np.int32(sums[even, k] + flip * sums[odd, k])
        x = np.int32(x + channel[c, k])
        total[k] = x + bucket[kind, k] + within[rest, k]


@compiled
def _class_of(value, bounds):  # type: ignore[no-untyped-def]
    index = 0
    while index < len(bounds) and value >= bounds[index]:
        index += 1
    return index


@compiled
def _grown(state, buffer, room):  # type: ignore[no-untyped-def]
    """The buffer, with room for so many bytes more."""
    if np.int64(state[AT]) + room <= len(buffer):
        return buffer
    larger = np.zeros(2 * len(buffer) + room, np.uint8)
    larger[: len(buffer)] = buffer
    return larger


@compiled
def _levels(mode, w, chances, point, height, width, level, state, buffer, cost):  # type: ignore[no-untyped-def]
    """Code the levels of a tile."""
    wide = width + 2 * REACH
    total, feature = np.empty(_WIDTH, np.int32), np.empty(_WIDTH, np.int32)
    start, vectors, out, bias = w.level_point, w.level_near, w.level_out, w.level_bias
    for i in range(height):
        if mode == ENCODE:
            buffer = _grown(state, buffer, _ROOM * width)
        elif mode == DECODE and past_the_end(state, buffer):
            return buffer, False
        for j in range(width):
            site = (i + REACH) * wide + j + REACH
            total[:] = 0
            _add(total, start, point)
            for k in range(_OWNS):
                at = site + _UP[k] * wide + _RIGHT[k]
                _add(total, vectors, k * (LEVELS + 1) + level[at])
            _clip(total, feature)
            node, symbol = 1, np.int64(level[site]) - 1
            for shift in range(3, -1, -1):
                logit = _dot(feature, out, node) + bias[node, point]
                chance = looked_up(logit, chances)
                bit = decide(mode, state, buffer, cost, chance, symbol >> shift & 1)
                node = 2 * node + bit
            level[site] = node - LEVELS + 1
    return buffer, True


@compiled
def _begun(w, point, height, width, level, channels):  # type: ignore[no-untyped-def]
    """What the levels add to the features of each site, and predictions of 0.

    What is known later adds to both, to the features sizes and numbers apart: (2 x sites) x hidden,
    sites x M.
    """
    wide, count = width + 2 * REACH, len(level)
    sums = np.zeros((2 * count, _WIDTH), np.int32)
    predictions = np.zeros((count, channels), np.int32)
    for i in range(height):
        for j in range(width):
            site = (i + REACH) * wide + j + REACH
            _feed(sums, 2 * site, w.point, point, 1)
            for k in range(_PLACES):
                at = site + (k // 3 - 1) * wide + k % 3 - 1
                _feed(sums, 2 * site, w.around, k * (LEVELS + 1) + level[at], 1)
    return sums, predictions


@compiled
def _channels(  # type: ignore[no-untyped-def]
    mode, w, chances, means, first, last, point, height, width, v, level, phases, planes, sums,
    predictions, state, buffer, cost, adapted, speed, escapes,
):  # fmt: skip
    """Code the numbers of some channels of a tile, `v`, M x sites with a border.

    Returns
    -------
    The buffer, and whether all is well: a decoder may have found what no encoder writes.
    """
    wide = width + 2 * REACH
    relations = w.related.shape[1]
    near, own = np.empty(_PLACES, np.int64), np.empty(_OWNS, np.int64)
    for k in range(_PLACES):
        near[k] = (k // 3 - 1) * wide + k % 3 - 1
    for k in range(_OWNS):
        own[k] = _UP[k] * wide + _RIGHT[k]
    # A tuple's arrays cost more than a variable's.
    table, fed, weights, phase_vectors = w.table, w.fed, w.near, w.phase
    channel_vectors, bucket, within, related = w.channel, w.bucket, w.within, w.related
    out, bias, bucket_bias, reach, groups = w.out, w.bias, w.bucket_bias, w.reach, w.group
    phase_bias, predict, own_weights = w.phase_bias, w.predict, w.own
    lows = len(predict) // _PLACES
    total, feature = np.empty(_WIDTH, np.int32), np.empty(_WIDTH, np.int32)
    rows = np.empty(_OWNS + relations * _PLACES + 4, np.int64)
    for c in range(first, last):
        is_mean, group = c < means, groups[c]
        top = min(HEADS, reach[c] + 1)
        spent = cost[1 + c : 2 + c]
        for i in range(height):
            if mode == ENCODE:
                buffer = _grown(state, buffer, _ROOM * width)
            elif mode == DECODE and past_the_end(state, buffer):
                return buffer, False
            for j in range(width):
                site = (i + REACH) * wide + j + REACH
                if level[site] <= group:
                    continue
                # The prediction, its sign, and the class of its size.
                prediction = predictions[site, c] >> _SIZE_BITS
                for k in range(BEFORE):
                    prediction += own_weights[k, c] * v[c, site + near[k]]
                flip = 1 if prediction >= 0 else -1
                kind = _class_of(abs(prediction), _BUCKET_BOUNDS)
                # The hidden layer.
                _begin(
                    total, sums, site, flip, channel_vectors, c, bucket, kind, within,
                    level[site] - group - 1,
                )  # fmt: skip
                phase = phases[site]
                if is_mean:
                    _add(total, phase_vectors, phase)
                # Rows to add, those of numbers other than 0: listed without a branch, for there is
                # no guessing them.
                listed = 0
                for k in range(_OWNS):
                    x = np.int64(v[c, site + own[k]])
                    rows[listed] = k * _NUMBERS + LARGEST + flip * x
                    listed += x != 0
                for r in range(relations):
                    other = related[c, r]
                    if other < 0:
                        break
                    entry = _OWNS + r * _PLACES
                    if other < means:
                        for k in range(_PLACES):
                            at = site + near[k]
                            x = v[other, at]
                            if x:
                                _add_scaled(total, weights, 2 * (entry + k), _SIZES[abs(x)])
                            odd = (planes[other, at] - planes[other, site]) >> _DIFFERENCE_SHIFT
                            if odd and level[at]:
                                _add_scaled(total, weights, 2 * (entry + k) + 1, flip * odd)
                    else:
                        for k in range(_PLACES):
                            x = np.int64(v[other, site + near[k]])
                            rows[listed] = (entry + k) * _NUMBERS + LARGEST + flip * x
                            listed += x != 0
                rows[listed : listed + 3] = LARGEST  # that is 0
                for k in range(0, listed, 4):
                    _add_four(total, fed, rows, k)
                _clip(total, feature)
                # The decisions.
                number = np.int64(v[c, site])
                size = abs(number)
                found = 0
                negative = number * flip < 0
                head = 0
                while head < top:
                    logit = _dot(feature, out, c * HEADS + head) + bias[c, head, point]
                    logit += bucket_bias[c, head, kind] + adapted[c, head]
                    if is_mean:
                        logit += phase_bias[c, head, phase]
                    chance = looked_up(logit, chances)
                    told = not negative if head == 1 else bool(size >= max(head, 1))
                    bit = decide(mode, state, buffer, spent, chance, int(told))
                    surprise = (bit << PROBABILITY_BITS) - chance
                    adapted[c, head] += (surprise * speed) >> _SPEED_SHIFT
                    if head == 1:
                        negative = bit == 0
                    elif bit == 0:
                        break
                    else:
                        found = max(head, 1)
                    head += 1
                if found == HEADS - 1 and reach[c] > found:
                    found += _escape(mode, state, buffer, spent, escapes, size - found)
                    if found > 2 * LARGEST:
                        return buffer, False
                if mode == DECODE:
                    number = np.int64(-flip * found if negative else flip * found)
                    if abs(number) > reach[c]:
                        return buffer, False
                    v[c, site] = number
                if found == 0:
                    continue
                # What the number tells of others.
                number = np.int64(v[c, site])
                even = _SIZES[found]
                if is_mean:
                    for k in range(_PLACES):
                        at = site - near[k]
                        if level[at]:
                            _feed(sums, 2 * at, table, 2 * (c * _PLACES + k), even)
                    continue
                for k in range(_PLACES):
                    at = site - near[k]
                    if level[at] > group:
                        row = c * _PLACES + k
                        _feed_both(sums, 2 * at, table, 2 * row, even, number << _SIZE_BITS)
                        if c < lows:
                            _predict(predictions, at, predict, row, number << _SIZE_BITS)
    return buffer, True


@compiled
def _predict(predictions, at, weights, row, number):  # type: ignore[no-untyped-def]
    """Add a number's part to the predictions of a site."""
    number = np.int32(number)
    for k in range(predictions.shape[1]):
        predictions[at, k] += number * weights[row, k]


@compiled
def _tell_mean(w, c, height, width, planes, level, sums, predictions):  # type: ignore[no-untyped-def]
    """Add what a mean tells of the channels after it: how those around differ from it."""
    wide, table, predict = width + 2 * REACH, w.table, w.predict
    for i in range(height):
        for j in range(width):
            site = (i + REACH) * wide + j + REACH
            for k in range(_PLACES):
                at = site + (k // 3 - 1) * wide + k % 3 - 1
                odd = np.int32((planes[c, at] - planes[c, site]) >> _DIFFERENCE_SHIFT)
                if odd and level[at]:
                    row = c * _PLACES + k
                    _feed(sums, 2 * site + 1, table, 2 * row + 1, odd)
                    for m in range(predictions.shape[1]):
                        predictions[site, m] += odd * predict[row, m]


@compiled
def _escape(mode, state, buffer, cost, escapes, rest):  # type: ignore[no-untyped-def]
    """Code a number from 0 on by an adaptive Exp-Golomb code; returns it."""
    length, whole = 0, rest + 1
    while length < _ESCAPES - 1:
        chance = escapes[length]
        bit = decide(mode, state, buffer, cost, chance, 1 if whole >> (length + 1) else 0)
        moved = chance + (((bit << PROBABILITY_BITS) - chance) >> 4)
        escapes[length] = min(max(moved, _RAREST), (1 << PROBABILITY_BITS) - _RAREST)
        if not bit:
            break
        length += 1
    result = 1
    for shift in range(length - 1, -1, -1):
        bit = decide(mode, state, buffer, cost, _HALF, whole >> shift & 1)
        result = 2 * result + bit
    return result - 1


def _rounded(values: NDArray[Any], places: int) -> NDArray[np.int64]:
    """Whole multiples of 2^-places. The values have few binary digits: the products are exact."""
    rounded: NDArray[np.int64] = np.rint(values.astype(np.float64) * (1 << places)).astype(np.int64)
    return rounded


def _integers(context: Mapping[str, NDArray[Any]], form: Structure) -> _Weights:
    """The weights in integers.

    Raises
    ------
    ValueError
        Where sums could exceed 32 bits.
    """
    x = {
        name: _rounded(context[name], _SUM_BITS)
        for name in (
            "around", "within", "bucket", "phase", "channel", "point", "level_near",
            "level_point",
        )
    }  # fmt: skip
    fed = {
        name: _rounded(context[name], _WEIGHT_BITS)
        for name in ("even", "odd", "near_even", "near_odd")
    }
    out, level_out = (_rounded(context[name], _OUT_BITS) for name in ("out", "level_out"))
    biases = {
        name: _rounded(context[name], _FEATURE_BITS + _OUT_BITS)
        for name in ("bias", "bucket_bias", "phase_bias", "level_bias")
    }
    predict, own = (_rounded(context[name], PREDICTION_BITS) for name in ("predict", "own"))
    related, reach = context["related"], np.array(form.reach)
    if not ((related >= -1) & (related < np.arange(len(reach))[:, None])).all():
        raise ValueError("a channel is related to one that is not coded before it")
    if reach.min() < 1 or reach.max() > LARGEST or not 0 <= form.means <= form.bounds[0]:
        raise ValueError("the channels are none that the context model can code")
    # No two means differ by more than twice their reach.
    number = np.where(np.arange(len(reach)) < form.means, 2 * reach, reach)
    size, most = int(_SIZES[-1]), 2 * LARGEST << _SIZE_BITS
    feature = size * np.abs(fed["even"]).sum((0, 1))
    feature += np.einsum("pmh,m->h", np.abs(fed["odd"]), number << _SIZE_BITS)
    feature += (size * np.abs(fed["near_even"]) + most * np.abs(fed["near_odd"])).sum(0)
    feature += np.abs(x["around"]).max(1).sum(0)
    feature += sum(
        np.abs(x[name]).max(0) for name in ("within", "bucket", "phase", "channel", "point")
    )
    levels = np.abs(x["level_near"]).max(1).sum(0) + np.abs(x["level_point"]).max(0)
    logits = (CLIP << _FEATURE_BITS) * np.abs(out).sum(-1)
    logits += np.abs(biases["bias"]).max(-1) + np.abs(biases["bucket_bias"]).max(-1)
    logits[:, : form.means] += np.abs(biases["phase_bias"]).max(-1)
    level_logits = (CLIP << _FEATURE_BITS) * np.abs(level_out).sum(-1)
    level_logits += np.abs(biases["level_bias"]).max(-1)
    predicted = np.einsum("plm,l->m", np.abs(predict), number[: predict.shape[1]])
    predicted = (predicted << _SIZE_BITS) + (np.abs(own) * reach).sum(0)
    largest = max(int(part.max()) for part in (feature, levels, logits, level_logits, predicted))
    if largest >= _EXACT >> 1:
        raise ValueError("the weights of the context model are too large to be exact")
    numbers = np.arange(-LARGEST, LARGEST + 1)
    sized, signed = _SIZES[np.abs(numbers)][:, None], (numbers << _SIZE_BITS)[:, None]
    vectors = {
        "table": np.stack([fed["even"], fed["odd"]], 2).transpose(1, 0, 2, 3),
        "near": np.stack([fed["near_even"], fed["near_odd"]], 1),
        "fed": sized * fed["near_even"][:, None] + signed * fed["near_odd"][:, None],
        "out": out.transpose(1, 0, 2),
        "level_out": level_out,
        **x,
    }
    hidden = out.shape[-1]
    if hidden > _WIDTH:
        raise ValueError(f"{hidden} hidden features are more than {_WIDTH}")
    others = {
        "bias": biases["bias"].transpose(1, 0, 2),
        "bucket_bias": biases["bucket_bias"].transpose(1, 0, 2),
        "phase_bias": biases["phase_bias"].transpose(1, 0, 2),
        "level_bias": biases["level_bias"],
        "related": related,
        "predict": predict.transpose(1, 0, 2).reshape(-1, len(reach)),
        "own": own,
        "reach": reach,
        "group": np.searchsorted(form.bounds, np.arange(len(reach)), side="right"),
    }
    rows = {
        name: np.pad(part.reshape(-1, hidden), ((0, 0), (0, _WIDTH - hidden)))
        for name, part in vectors.items()
    }
    return _Weights(
        **{
            name: np.ascontiguousarray(part, dtype=np.int32)
            for name, part in {**rows, **others}.items()
        }
    )
