"""What hostile inputs are made of: numbers, texts, JSON with a part changed, damaged bytes."""

from __future__ import annotations

import json
import random

NUMBERS = (
    *("0", "-0", "1", "-1", "0.5", "1e308", "1e309", "-1e309", "9" * 400, "1e-400", "NaN"),
    *("Infinity", "-Infinity", "2147483648", "9223372036854775807", "9223372036854775808", "0x10"),
    *("1_000", "1,5", "٣", "½", " 1", "1 ", "+1", "--1", "1e", "", "null", "true", "[]", "{}"),
)
TEXTS = (
    *(
        "",
        "x",
        "toy",
        "a.png",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "é",
        "\u2028",
        "=1+1",
        "../a",
    ),
    *("a" * 5000, "'; DROP TABLE runs", "</script>", "{", "[" * 3000, '"', "\\", ",", ";", "\n"),
)


def noise(rng: random.Random, content: bytes) -> bytes:
    """Damage bytes: some changed, a part left out, repeated, exchanged or cut off."""
    damaged = bytearray(content)
    for _ in range(rng.choice((0, 1, 1, 2, 8, 64))):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 255, rng.randrange(256)))
    a, b = sorted(rng.randrange(len(damaged) + 1) for _ in range(2))
    match rng.randrange(8):
        case 0:
            del damaged[a:b]
        case 1:
            damaged[a:a] = damaged[a:b]
        case 2:
            del damaged[a:]
        case 3:
            damaged[a:b] = rng.randbytes(b - a)
    return bytes(damaged)


def any_value(rng: random.Random, depth: int = 0) -> object:
    """Any value of JSON's, NaN and lone surrogates among them."""
    match rng.randrange(9 if depth < 3 else 6):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.choice((0, -1, 1, 1 << 31, 1 << 63, -(1 << 63), 1 << 70, 10**400))
        case 2:
            return rng.choice((0.0, -0.5, 1e308, float("inf"), float("-inf"), float("nan")))
        case 3 | 4 | 5:
            return rng.choice(TEXTS)
        case 6:
            return [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return {rng.choice(TEXTS): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def changed(rng: random.Random, value: object) -> object:
    """A value of JSON's with some part of it replaced, left out or added."""
    if rng.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return any_value(rng)
    if isinstance(value, list):
        value = list(value)
        where = rng.randrange(len(value))
        value[where : where + rng.choice((0, 1, 1))] = [changed(rng, value[where])]
        return value
    value = dict(value)
    key = rng.choice(list(value))
    match rng.randrange(5):
        case 0:
            del value[key]
        case 1:
            value[rng.choice(TEXTS)] = any_value(rng)
        case _:
            value[key] = changed(rng, value[key])
    return value


def changed_text(rng: random.Random, value: object, times: int | None = None) -> bytes:
    """JSON of a value that was changed so often, now and then damaged."""
    if times is None:
        times = rng.choice((1, 1, 2, 3))
    for _ in range(times):
        value = changed(rng, value)
    content = json.dumps(value, ensure_ascii=rng.random() < 0.7).encode(errors="surrogatepass")
    return noise(rng, content) if times and rng.random() < 0.3 else content
