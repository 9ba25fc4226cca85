import sys

import numpy as np
import pytest

from benchsuite.data import DataUnavailable, docstrings, texts


@pytest.fixture(scope="module")
def parts():
    return docstrings()


def test_there_are_as_many_texts_of_each_module(parts):
    pool, test = parts
    assert pool.images.shape == (600, texts.FEATURES)
    assert test.images.shape == (200, texts.FEATURES)
    assert np.bincount(pool.labels).tolist() == [60] * 10
    assert np.bincount(test.labels).tolist() == [20] * 10
    assert pool.images.dtype == np.float32


def test_rows_are_weights_of_unit_norm(parts):
    for part in parts:
        np.testing.assert_allclose(np.linalg.norm(part.images, axis=1), 1, atol=1e-6)
        assert part.images.min() == 0
        assert 4 < (part.images > 0).sum(axis=1).mean() < 100


def test_they_are_the_same_each_time(parts):
    assert docstrings() == parts


def test_words_say_more_than_chance_of_the_module(parts):
    pool, test = parts
    centres = np.stack([pool.images[pool.labels == each].mean(axis=0) for each in range(10)])
    guesses = (test.images @ centres.T).argmax(axis=1)
    assert (guesses == test.labels).mean() > 0.4


@pytest.mark.parametrize("module", texts.MODULES)
def test_no_text_has_the_name_of_a_module_or_comes_twice(module):
    found = texts._texts(module)
    assert len(found) >= 80
    assert len(set(found)) == len(found)
    for name in ("decimal", *texts.MODULES[1:]):
        assert not any(name in text for text in found)
    assert min(len(text.split()) for text in found) == 6


# ---- a library small enough to be read ----

SOURCE = '''"""Of the module xml itself, in six plain words."""

class A:
    """Too short."""

    def method(self):
        """Of a_method of A, which XMLReader2 may call."""

        async def inner():
            """Of what lies inside, numbers 1 and 2x not being words."""

if True:
    def method(text="""no docstring at all, although it is long"""):
        """Of the module xml itself: in six plain words."""
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "_library", lambda: tmp_path)
    return tmp_path


def test_docstrings_are_those_of_modules_classes_and_functions(library):
    (library / "xml" / "tests").mkdir(parents=True)
    (library / "xml" / "tests" / "b.py").write_text('"""Not of any test, however many words."""')
    (library / "xml" / "part.py").write_text(SOURCE)
    (library / "xml.py").write_text('"""Not of a file that a package hides from Python."""')
    names = [name for name, _ in texts._docstrings("xml")]
    assert names == [
        "xml.part",
        "xml.part.A",
        "xml.part.A.method",
        "xml.part.A.method.inner",
        "xml.part.method",
    ]
    assert texts._texts("xml") == [
        "of the module itself in six plain words",
        "of method of which may call",
        "of what lies inside numbers and not being words",
    ]


def test_modules_of_one_file_are_read_too(library):
    (library / "_pydecimal.py").write_text(SOURCE)
    assert len(texts._texts("_pydecimal")) == 3


def test_a_text_counts_for_the_first_module_that_has_it(library, monkeypatch):
    letters = "abcdefghijklmnopqrst"
    for module, first in zip(texts.MODULES, letters, strict=False):
        own = [f'def f{each}():\n    """{first}{each} is all that we say."""\n' for each in letters]
        shared = 'def g():\n    """These words are in all modules."""\n'
        (library / f"{module}.py").write_text(shared + "".join(own))
    monkeypatch.setattr(texts, "_HELD_OUT", 20)
    monkeypatch.setattr(texts, "_PER_CLASS", 20)
    pool, test = docstrings()
    assert (len(pool), len(test)) == (180, 20)
    rows = np.concatenate([pool.images, test.images]) > 0
    assert len(np.unique(rows, axis=0)) > 150  # but for words in the same hashed column
    monkeypatch.setattr(texts, "_PER_CLASS", 21)
    with pytest.raises(DataUnavailable, match=r"asyncio in .* has 20 docstrings"):
        docstrings()


def test_a_library_without_source_files_is_said(library):
    with pytest.raises(DataUnavailable, match=r"_pydecimal in .* has 0 docstrings .* expected 80"):
        docstrings()


def test_nothing_is_imported_to_be_read():
    before = set(sys.modules)
    list(texts._docstrings("unittest"))
    assert set(sys.modules) == before
