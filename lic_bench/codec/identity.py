"""What decides on a codec's bytes and pixels."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

from lic_bench.codec.base import Codec
from lic_bench.codec.programs import ProgramCodec
from lic_bench.errors import SpecError


def identity(codec: Codec) -> str:
    """Everything that decides on a codec's bytes and pixels, as canonical JSON.

    Measurements are remembered under it: the same identity gives the same result. It holds name,
    options, the versions that the codec states, and the hash of the file that defines it.
    """
    return json.dumps(
        {
            "codec": codec.name,
            "options": {name: str(value) for name, value in codec.options.items()},
            "versions": dict(codec.versions()),
            "source": _source_hash(type(codec)),
        },
        sort_keys=True,
        ensure_ascii=False,
    )


def _source_hash(cls: type[Codec]) -> str:
    file = cls.source if issubclass(cls, ProgramCodec) else inspect.getsourcefile(cls)
    if file is None:
        raise SpecError(f"the codec {cls.name!r} is not defined in a file")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
