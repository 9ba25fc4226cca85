"""What makes a recorded verdict stale, and what does not."""

import pytest

from benchsuite import code_digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one file that decides and one that only shows; gives the digest."""
    for folder in ("stats", "report"):
        (tmp_path / folder).mkdir()
    for file in ("stats/verdict.py", "report/build.py", "plugin.py", "__init__.py", "stats/a.txt"):
        (tmp_path / file).write_text("1\n")
    monkeypatch.setattr(code_digest, "_PACKAGE", tmp_path)
    return tmp_path, code_digest.code_digest.__wrapped__


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("stats/verdict.py", True),
        ("stats/__init__.py", True),
        ("report/build.py", False),
        ("plugin.py", False),
        ("__init__.py", False),
        ("stats/a.txt", False),
    ],
)
def test_only_code_that_decides_matters(package, file, matters):
    folder, digest = package
    before = digest()
    (folder / file).write_text("2\n")
    assert (digest() != before) is matters


def test_a_renamed_file_is_other_code(package):
    folder, digest = package
    before = digest()
    (folder / "stats" / "verdict.py").rename(folder / "stats" / "verdicts.py")
    assert digest() != before


def test_the_digest_is_short_and_the_same_twice():
    assert code_digest.code_digest() == code_digest.code_digest.__wrapped__()
    assert len(code_digest.code_digest()) == 16
