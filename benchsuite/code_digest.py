"""Digest of the code that a verdict depends on: the standard library alone, so that pages have it.

A page marks what other code decided as stale, and is drawn where nothing trains.
"""

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_DECIDES_NOTHING = (
    "__init__.py",
    "code_digest.py",
    "plugin.py",
    "progress.py",
    "provenance.py",
    "recording.py",
    "report",
)


@cache
def code_digest() -> str:
    """Digest of all of the package's code that a verdict depends on, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        relative = path.relative_to(_PACKAGE)
        if relative.parts[0] not in _DECIDES_NOTHING:
            digest.update(f"{relative.as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
