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


def code_digest(claim_file: Path | None = None) -> str:
    """Digest of all code that a verdict depends on: the package's and the claim's own file.

    16 hexadecimal digits; of the package alone where no file is given. OSError where the file
    cannot be read.
    """
    digest = hashlib.sha256(_package_digest())
    if claim_file is not None:
        digest.update(claim_file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _package_digest() -> bytes:
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        relative = path.relative_to(_PACKAGE)
        if relative.parts[0] not in _DECIDES_NOTHING:
            digest.update(f"{relative.as_posix()}\0".encode() + path.read_bytes())
    return digest.digest()
