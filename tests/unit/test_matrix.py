import time

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from benchsuite import scaled_confidence
from benchsuite.auditing.matrix import read_matrix

RNG = np.random.default_rng(0)
MODELS, EXAMPLES, CLASSES = 6, 5, 3
LOGITS = RNG.normal(size=(MODELS, EXAMPLES, CLASSES))
LABELS = np.array([0, 2, 1, 1, 0])
MEMBERSHIP = np.array([[(m + e) % 2 for e in range(EXAMPLES)] for m in range(MODELS)], dtype=bool)
CONFIDENCE = scaled_confidence(LOGITS, LABELS)
PROBABILITIES = softmax(LOGITS, axis=-1)
PROBABILITY = np.take_along_axis(PROBABILITIES, LABELS[None, :, None], axis=2)[..., 0]
VALUES = {
    "logits": LOGITS,
    "probabilities": PROBABILITIES,
    "probability": PROBABILITY,
    "confidence": CONFIDENCE,
}
ROUNDING = 1e-14  # of numbers written as text, where pandas is older
IDS = np.array([3, 7, 20, 100, 1000])  # as text they would be in another order


def arrays(kind="logits", **changes):
    return {kind: VALUES[kind], "labels": LABELS, "membership": MEMBERSHIP} | changes


def table(kind="logits", values=None, ids=IDS):
    values = VALUES[kind] if values is None else values
    stem = {"logits": "logit_", "probabilities": "probability_"}.get(kind)
    columns = (
        {f"{stem}{k}": values[..., k].ravel() for k in range(values.shape[-1])}
        if stem
        else {kind: values.ravel()}
    )
    rows = {
        "model": np.repeat(np.arange(MODELS), EXAMPLES),
        "example": np.tile(ids, MODELS),
        "label": np.tile(LABELS, MODELS),
        "member": MEMBERSHIP.ravel().astype(int),
    }
    return pd.DataFrame(rows | columns)


def shuffled(frame):
    return frame.sample(frac=1, random_state=3)[sorted(frame.columns, reverse=True)]


def write(frame, path):
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


def saved(tmp_path, contents):
    path = tmp_path / "runs.npz"
    np.savez(path, **contents)
    return path


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_matrix(path)
    assert str(path) in str(caught.value)  # names the file
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_arrays_and_shuffled_tables_say_the_same(tmp_path, kind, suffix):
    one = read_matrix(saved(tmp_path, arrays(kind, ids=IDS)))
    other = read_matrix(write(shuffled(table(kind)), tmp_path / f"runs{suffix}"))
    rounding = ROUNDING if suffix == ".csv" else 0
    for matrix in (one, other):
        assert matrix.kind == kind
        assert matrix.raised == 0
        np.testing.assert_array_equal(matrix.ids, IDS)
        np.testing.assert_array_equal(matrix.observations.labels, LABELS)
        np.testing.assert_array_equal(matrix.observations.membership, MEMBERSHIP)
        np.testing.assert_allclose(matrix.observations.confidence, CONFIDENCE, rtol=1e-9)
    if kind in ("logits", "probabilities"):
        np.testing.assert_allclose(
            one.observations.logits, other.observations.logits, rtol=rounding
        )
    else:
        assert one.observations.logits is None
        assert other.observations.logits is None
    np.testing.assert_allclose(
        one.observations.confidence, other.observations.confidence, rtol=rounding
    )


def test_arrays_keep_their_order_and_float32(tmp_path):
    matrix = read_matrix(saved(tmp_path, arrays(logits=LOGITS.astype(np.float32), other=[1])))
    np.testing.assert_array_equal(matrix.ids, np.arange(EXAMPLES))
    assert matrix.observations.logits.dtype == np.float32
    backwards = read_matrix(saved(tmp_path, arrays(ids=IDS[::-1])))
    np.testing.assert_array_equal(backwards.ids, IDS[::-1])
    np.testing.assert_array_equal(backwards.observations.logits, LOGITS)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_probabilities_become_float32(tmp_path, dtype):
    path = saved(tmp_path, arrays("probabilities", probabilities=PROBABILITIES.astype(dtype)))
    observations = read_matrix(path).observations
    assert observations.logits.dtype == np.float32
    np.testing.assert_allclose(observations.confidence, CONFIDENCE, atol=5e-3)


def test_a_table_of_float32_stays_float32(tmp_path):
    frame = table("confidence").astype({"confidence": np.float32})
    path = write(frame, tmp_path / "runs.parquet")
    assert read_matrix(path).observations.confidence.dtype == np.float32


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_text_ids_are_kept_as_they_are(tmp_path, suffix):
    ids = np.array(["007", "7", "NA", "a,b", "nan"])  # sorted
    if suffix == ".npz":
        path = saved(tmp_path, arrays(ids=ids))
    else:
        path = write(shuffled(table(ids=ids)), tmp_path / f"runs{suffix}")
    matrix = read_matrix(path)
    np.testing.assert_array_equal(matrix.ids, ids)
    np.testing.assert_allclose(matrix.observations.logits, LOGITS, rtol=ROUNDING)


def test_bytes_are_text(tmp_path):
    ids = np.array([b"b", b"a", b"c", b"d", b"e"])
    assert read_matrix(saved(tmp_path, arrays(ids=ids))).ids.tolist() == list("bacde")


@pytest.mark.parametrize("truth", [("true", "false"), ("True", "False"), ("1", "0"), ("1.0", "0")])
def test_members_may_be_words_or_numbers(tmp_path, truth):
    frame = table()
    frame["member"] = [truth[0] if each else truth[1] for each in frame["member"]]
    pytest.importorskip("pyarrow")
    for suffix in (".csv", ".parquet"):
        matrix = read_matrix(write(frame, tmp_path / f"runs{suffix}"))
        np.testing.assert_array_equal(matrix.observations.membership, MEMBERSHIP)


def test_an_indexed_parquet_and_nullable_columns_are_read(tmp_path):
    pytest.importorskip("pyarrow")
    frame = table().convert_dtypes().set_index(["model", "example"])
    frame.to_parquet(tmp_path / "runs.parquet")
    matrix = read_matrix(tmp_path / "runs.parquet")
    np.testing.assert_array_equal(matrix.observations.logits, LOGITS)
    np.testing.assert_array_equal(matrix.ids, IDS)


def test_a_byte_order_mark_and_capital_suffix_are_read(tmp_path):
    table().to_csv(tmp_path / "RUNS.CSV", index=False, encoding="utf-8-sig")
    matrix = read_matrix(tmp_path / "RUNS.CSV")
    np.testing.assert_allclose(matrix.observations.logits, LOGITS, rtol=ROUNDING)


def test_probabilities_of_zero_are_raised_and_counted(tmp_path):
    given = PROBABILITIES.copy()
    given[0, 0] = [1, 0, 0]
    given[2, 1] = [1, 0, 1e-13]
    matrix = read_matrix(saved(tmp_path, arrays("probabilities", probabilities=given)))
    assert matrix.raised == 4
    assert matrix.observations.logits.min() == pytest.approx(np.log(1e-12))
    assert matrix.observations.confidence[0, 0] == pytest.approx(-np.log(2e-12))
    assert matrix.observations.confidence[2, 1] == pytest.approx(np.log(1e-12), abs=1e-9)
    assert given[0, 0, 1] == 0  # the caller's own


def test_probabilities_of_the_label_are_held_on_both_sides(tmp_path):
    given = PROBABILITY.copy()
    given[0, :3] = [0, 1, 0.25]
    matrix = read_matrix(saved(tmp_path, arrays("probability", probability=given)))
    assert matrix.raised == 2
    expected = [np.log(1e-12), -np.log(1e-12), -np.log(3)]
    np.testing.assert_allclose(matrix.observations.confidence[0, :3], expected, rtol=1e-9)


NAN = np.where(np.arange(LOGITS.size).reshape(LOGITS.shape) == 20, np.nan, LOGITS)
SIGMOIDS = np.full_like(PROBABILITIES, 0.6)
ALWAYS, NEVER = MEMBERSHIP.copy(), MEMBERSHIP.copy()
ALWAYS[:, 2], NEVER[:, 3:] = True, False


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"logits": LOGITS}, "has no array labels and membership, expected .* it holds logits"),
        ({"logits": LOGITS, "labels": LABELS, "in": [1]}, "no array membership,.* labels, in:"),
        ({"labels": LABELS, "membership": MEMBERSHIP}, "has no outputs, expected one of logits, "),
        (arrays(confidence=CONFIDENCE), "holds logits and confidence at once, .* keep logits"),
        (arrays(logits=NAN), "array logits: 1 of 90 .* NaN or infinite .first of model 1, example"),
        (arrays(logits=LOGITS[0]), r"array logits: shape \[5, 3\], expected \[models, examples, c"),
        (
            arrays(logits=LOGITS[:0], membership=MEMBERSHIP[:0]),
            r"array logits: float64 of shape \[0, 5, 3\], expected at least one real number",
        ),
        (arrays(logits=LOGITS > 0), "array logits: bool of shape .* expected at least one real nu"),
        (arrays(logits=LOGITS[:, :, :1]), "array logits: 1 class, expected at least 2: for a bin"),
        (arrays(logits=LOGITS[:, :, :2]), "labels run from 0 to 2, expected indices of the 2 cla"),
        (arrays(logits=LOGITS[:, :4]), r"6 models and 4 examples, but membership has shape \[6, 5"),
        (arrays("confidence", confidence=LOGITS), r"shape \[6, 5, 3\], expected \[models, exampl"),
        (arrays(labels=LABELS[:4]), "5 examples, but labels has 4, expected one label for each"),
        (arrays(labels=LABELS[None]), r"array labels: shape \[1, 5\], expected one axis"),
        (arrays(labels=LABELS - 1), "array labels: the value -1, expected class indices from 0"),
        (arrays(labels=LABELS + 0.5), "array labels: the value 0.5, expected class indices"),
        (arrays(labels=LABELS + np.inf), "array labels: the value inf, expected class indices"),
        (arrays(labels=LABELS * np.nan), "array labels: 5 missing values .first in row 1., expe"),
        (arrays(membership=MEMBERSHIP * 2), "array membership: the value 2, expected only 0 .OUT."),
        (arrays(membership=MEMBERSHIP.T), r"6 models and 5 examples, but membership has shape \[5"),
        (arrays(membership=ALWAYS), "example 2 is IN for all 6 models, the first of 1 that"),
        (arrays(membership=NEVER, ids=IDS), "example 100 is OUT for all 6 models, the first of 2"),
        (arrays(ids=[1, 2, 3, 2, 5]), "the id 2 occurs more than once in ids, expected distinct"),
        (arrays(ids=IDS[:4]), "5 examples, but ids has 4, expected one id for each"),
        (arrays(ids=IDS / 8), "array ids: ids such as 0.375, expected integers or text"),
        (arrays(ids=IDS > 5), "array ids: ids such as False, expected integers or text"),
        (arrays(ids=["a", "", "b", "c", "d"]), "array ids: 1 missing values .first in row 2."),
        (
            arrays("probabilities", probabilities=LOGITS),
            "values from -2.33 to .* sums to .* within 0.001: it looks like logits: name the array "
            "logits",
        ),
        (arrays("probabilities", probabilities=SIGMOIDS), "sums to 1.8, .* after a softmax; if"),
        (arrays("logits", logits=PROBABILITIES), "looks like probabilities: name the array proba"),
        (arrays("confidence", confidence=PROBABILITY), "like probabilities of the label: name the"),
        (arrays("probability", probability=-PROBABILITY), "the value -0.* between 0 and 1: if it"),
        (arrays("probability", probability=CONFIDENCE + 3), "array probability: the value .* conf"),
        (arrays(labels=LABELS.astype(object)), "holds an array of Python objects, or is no .npz"),
        (arrays(ids=[1j] * 5), "array ids: ids such as 1j, expected integers or text"),
    ],
)
def test_bad_arrays_are_named(tmp_path, contents, message):
    refused(saved(tmp_path, contents), message)


def without(column):
    return table().drop(columns=column)


def with_value(column, row, value):
    frame = table().astype({column: object})
    frame.loc[row, column] = value
    return frame


TABLES = [
    (without("member"), "has no column member, expected model, example, label and member and one"),
    (without(["model", "example"]), "no column model and example.* it holds label, member, logit"),
    (without(["logit_0", "logit_1", "logit_2"]), r"no outputs, expected one of logit_0.., prob"),
    (without("logit_1"), "has columns up to logit_2 but no logit_1, expected one for each class"),
    (without(["logit_1", "logit_2"]), "columns logit_0, logit_1, ...: 1 class, expected at least"),
    (table().assign(confidence=2.0), "holds logits and confidence at once"),
    (table().iloc[:0], "has no rows, expected one for each model and example"),
    (pd.concat([table(), table().iloc[[7]]]), "example 20 occurs more than once for model 1 .1 r"),
    (table().drop(index=7), "model 1 has 4 of 5 examples, for one no 20, expected all of them"),
    (pd.concat([table().drop(index=7), table().iloc[[8]]]), "example 100 occurs more than once"),
    (with_value("label", 6, 1), "column label: example 7 has labels 1 and 2, expected one label"),
    (with_value("label", 6, None), "column label: 1 missing values .first in row 7., expected no"),
    (with_value("member", 3, 2), "column member: the value 2, expected only 0 .OUT. and 1 .IN."),
    (with_value("member", 3, None), "column member: 1 missing values .first in row 4."),
    (with_value("model", 3, None), "column model: 1 missing values .first in row 4."),
    (with_value("logit_2", 9, None), "column logit_2: 1 missing values .first in row 10."),
    (with_value("logit_1", 9, np.inf), "columns logit_0, .* 1 of 90 .* model 1, example 1000., ex"),
    (table().assign(member=1), "example 3 is IN for all 6 models, the first of 5 that are on one"),
    (table("probabilities", LOGITS), "looks like logits: name the columns logit_0, logit_1, ..."),
    (table("logits", PROBABILITIES), "probabilities: name the columns probability_0, probability"),
    (table("confidence", PROBABILITY), "probabilities of the label: name the column probability"),
    (table("probability", CONFIDENCE), "column probability: the value .* name the column conf"),
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("frame", "message"), TABLES)
def test_bad_tables_are_named(tmp_path, frame, message, suffix):
    refused(write(frame, tmp_path / f"runs{suffix}"), message)


def test_words_where_numbers_belong_are_named(tmp_path):
    frame = with_value("logit_1", 4, "broken")
    refused(write(frame, tmp_path / "runs.csv"), "column logit_1: 'broken' in row 5, expected num")
    frame = with_value("member", 4, "maybe")
    refused(write(frame, tmp_path / "runs.csv"), "column member: the value maybe, expected only 0")


def test_many_columns_are_not_all_listed(tmp_path):
    frame = pd.DataFrame({f"x{k}": [1] for k in range(40)})
    refused(write(frame, tmp_path / "runs.csv"), "it holds x0, .*, x11 and 28 more: rename")


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("runs.txt", b"", "ends in '.txt', expected .npz, .csv, .parquet: write it as one of"),
        ("runs", b"", "ends in '', expected .npz"),
        ("runs.npz", b"PK\x03\x04 cut short", "is no readable .npz"),
        ("runs.npz", b"", "is no readable .npz"),
        ("runs.npz", b"text", "holds an array of Python objects, or is no .npz at all"),
        ("runs.csv", b"", "is no table .No columns to parse from file.: write one header"),
        ("runs.csv", b"model,example\n1,2,3\n", "is no table .*: write one header, then one row"),
        ("runs.csv", b"model,example\n1,2\n1,2,3,4\n", "is no table .*Expected 2 fields in line 3"),
        ("runs.csv", b"model,label,label\n1,2,3\n", "is no table .column label occurs twice.: wri"),
        ("runs.csv", "model,é\n".encode("latin-1"), "is no table .*, in UTF-8"),
        ("runs.parquet", b"text", "is no readable .parquet"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, contents, message):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(contents)
    refused(path, message)


def test_an_npy_in_disguise_is_named(tmp_path):
    with (tmp_path / "runs.npz").open("wb") as file:
        np.save(file, LOGITS)
    refused(tmp_path / "runs.npz", "is no readable .npz")


def test_a_missing_file_is_named(tmp_path):
    refused(
        tmp_path / "absent.csv", "absent.csv is no file that exists, expected outputs of models"
    )
    refused(tmp_path, "is no file that exists")


def test_parquet_without_pyarrow_says_how_to_install_it(tmp_path, monkeypatch):
    def absent(path):
        raise ImportError("Unable to find a usable engine; tried using: 'pyarrow', 'fastparquet'.")

    monkeypatch.setattr(pd, "read_parquet", absent)
    (tmp_path / "runs.parquet").touch()
    refused(tmp_path / "runs.parquet", r"pip install 'benchsuite\[parquet\]'")


def test_half_a_million_rows_take_seconds(tmp_path):
    models, examples, classes = 256, 2000, 10
    logits = np.random.default_rng(1).normal(size=(models * examples, classes)).round(4)
    frame = pd.DataFrame(logits, columns=[f"logit_{k}" for k in range(classes)])
    frame.insert(0, "model", np.repeat(np.arange(models), examples))
    frame.insert(1, "example", np.tile(np.arange(examples), models))
    frame["label"] = frame["example"] % classes
    frame["member"] = (frame["example"] + frame["model"]) % 2
    path = write(frame, tmp_path / "runs.csv")
    started = time.perf_counter()
    matrix = read_matrix(path)
    assert time.perf_counter() - started < 20  # about 2 on two quiet cores
    read = matrix.observations.logits.reshape(-1, classes)
    np.testing.assert_allclose(read, logits, rtol=ROUNDING)
