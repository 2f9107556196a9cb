"""The folders of a machine, taken out of what people pass on.

A command, an error or an option names files by where they lie, and that names people and machines.
Of an absolute path its last part stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Two parts at least: "/2", "</script>" and "and/or" are no paths. A drive or a home may begin it.
_BEGIN = r"(?<![\w.~/\\<:-])(?:~[\w-]*|[A-Za-z]:)?"
_QUOTED = re.compile(rf"(?<=['\"]){_BEGIN}[/\\](?:[^'\"\n/\\]+[/\\])+([^'\"\n/\\]*)(?=['\"])")
_BARE = re.compile(rf"{_BEGIN}[/\\](?:[^\s'\"/\\,;:|()<>]+[/\\])+([^\s'\"/\\,;:|()<>]*)")


def without_folders(value: Any) -> Any:
    """The same with the names of files and folders alone in all its texts, at any depth."""
    if isinstance(value, str):
        return _BARE.sub(r"\1", _QUOTED.sub(r"\1", value))
    if isinstance(value, Mapping):
        return {without_folders(key): without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    return value
