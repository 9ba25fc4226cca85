import errno
import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchsuite.report.artifacts import load_artifact, save_artifact
from benchsuite.report.schema import RESULTS, SCHEMA, Artifact, Part, Result, read_results, record


def result(claim="one-pair-suffices", arm="observed", **changes):
    part = Part("", "> 0.9", 0.95, (0.93, 0.97), "supported", None)
    given = {
        "schema": SCHEMA,
        "claim": claim,
        "version": 1,
        "family": "A1",
        "says": "One IN and one OUT model attack singletons almost perfectly.",
        "measures": "AUROC",
        "source": "a paper, Fig. 1d",
        "paper": "AUROC 1.0",
        "subject": "digits-mlp",
        "tier": "cpu",
        "arm": arm,
        "verdict": "supported",
        "expected": "supported",
        "reason": "",
        "as_expected": True,
        "unresolved": "",
        "rule": "> 0.9",
        "estimate": 0.95,
        "interval": (0.93, 0.97),
        "alpha": 0.00625,
        "parts": (part,),
        "units": ({"seed": "0:1-64", "value": 0.94}, {"seed": "0:65-128", "value": {"a": 0.96}}),
        "declared_units": 2,
        "artifacts": (Artifact("roc", "artifacts/x.roc.npz", "ab" * 32),),
        "seconds": 1.5,
        "train_seconds": 20.0,
        "models_trained": 128,
        "models_reused": 0,
        "rerun": "pytest claims -k one_pair",
        "provenance": {"code": "c0de", "data": "da7a", "threads": 2},
    }
    return Result(**(given | changes))


def control(**changes):
    return result(arm="random-group", verdict="refuted", expected="refuted", **changes)


def unresolved(**changes):
    """A line whose sample could not answer."""
    given = {"verdict": "inconclusive", "unresolved": "3 examples have memorization above .5"}
    nothing = {"estimate": None, "interval": (-math.inf, math.inf), "parts": (), "units": ()}
    return result(**(given | nothing | changes))


def line_edited(tmp_path, **changes):
    record(tmp_path, [result()])
    row = json.loads((tmp_path / RESULTS).read_text())
    (tmp_path / RESULTS).write_text(json.dumps(row | changes) + "\n")


RECORD_FIFTY = """
import sys, time
from dataclasses import replace
from pathlib import Path
from benchsuite.report.schema import read_results, record

template, folder, name = read_results(sys.argv[1])[0], Path(sys.argv[2]), sys.argv[3]
(folder / f"ready-{name}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.001)
for i in range(50):
    record(folder, [replace(template, claim=f"{name}-{i}")])
"""


def test_what_was_recorded_is_read_back(tmp_path):
    saved = [result(), control(), result("other", says="curly “quotes”,  and\nbreaks")]
    record(tmp_path, saved)
    assert read_results(tmp_path) == saved


def test_nothing_recorded_is_an_empty_list(tmp_path):
    assert read_results(tmp_path) == []
    (tmp_path / RESULTS).write_text("")
    assert read_results(tmp_path) == []


def test_a_rerun_replaces_its_lines_where_they_stand(tmp_path):
    record(tmp_path, [result(), control()])
    record(tmp_path, [result("other")])
    record(tmp_path, [result(tier="gpu")])
    again = [result(estimate=0.96), control(estimate=0.5, interval=(0.4, 0.6))]
    record(tmp_path, again)
    assert read_results(tmp_path) == [*again, result("other"), result(tier="gpu")]


def test_a_renamed_control_and_an_older_version_disappear(tmp_path):
    record(tmp_path, [result(), control()])
    record(tmp_path, [result(version=2)])
    assert read_results(tmp_path) == [result(version=2)]


def test_a_newer_version_outlives_an_older_run(tmp_path):
    record(tmp_path, [result(version=2)])
    record(tmp_path, [result(version=1)])
    assert read_results(tmp_path) == [result(version=2), result(version=1)]


@pytest.mark.parametrize("verdict", ["supported", "refuted", "inconclusive", "void"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_plumbing_never_replaces_what_was_decided(tmp_path, verdict, version):
    decided = [result(version=2, verdict=verdict), control(version=2)]
    record(tmp_path, decided)
    record(tmp_path, [result("other", verdict="plumbing")])
    few = result(version=version, verdict="plumbing")
    record(tmp_path, [few, replace(few, arm="random-group", expected="refuted")])
    assert read_results(tmp_path) == [*decided, result("other", verdict="plumbing")]


@pytest.mark.parametrize("changes", [{"subject": "mine"}, {"tier": "gpu"}, {"claim": "other"}])
def test_plumbing_is_saved_where_nothing_was_decided(tmp_path, changes):
    record(tmp_path, [result(), control()])
    record(tmp_path, [result(**changes, verdict="plumbing", estimate=0.94)])
    again = result(**changes, verdict="plumbing")
    record(tmp_path, [again])
    assert read_results(tmp_path) == [result(), control(), again]
    record(tmp_path, [result(**changes)])
    assert read_results(tmp_path) == [result(), control(), result(**changes)]


def test_two_processes_that_record_at_once_lose_nothing(tmp_path):
    record(tmp_path / "template", [result()])
    arguments = [sys.executable, "-c", RECORD_FIFTY, tmp_path / "template", tmp_path]
    writers = [subprocess.Popen([*arguments, name]) for name in ("a", "b")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert {saved.claim for saved in read_results(tmp_path)} == {
        f"{name}-{i}" for name in ("a", "b") for i in range(50)
    }
    assert not list(tmp_path.glob(".*.tmp"))


def test_numpy_scalars_become_plain_numbers(tmp_path):
    given = result(
        estimate=np.float32(0.5),
        interval=(np.float64(0.25), np.float64(0.75)),
        as_expected=np.bool_(True),
        models_trained=np.int64(64),
        units=({"seed": "0", "value": np.float64(0.5)},),
        provenance={"accuracy": np.float32(0.5)},
    )
    record(tmp_path, [given])
    row = json.loads((tmp_path / RESULTS).read_text())
    assert (row["estimate"], row["interval"], row["models_trained"]) == (0.5, [0.25, 0.75], 64)
    assert row["as_expected"] is True
    assert row["provenance"] == {"accuracy": 0.5}
    assert read_results(tmp_path) == [given]


def test_an_unbounded_interval_is_null_in_json_and_infinite_in_python(tmp_path):
    record(tmp_path, [result(interval=(-math.inf, math.inf))])
    assert json.loads((tmp_path / RESULTS).read_text())["interval"] == [None, None]
    assert read_results(tmp_path)[0].interval == (-math.inf, math.inf)


def test_what_cannot_be_resolved_is_null_in_json_and_none_in_python(tmp_path):
    saved = [unresolved(as_expected=False), unresolved(arm="random-group", expected="refuted")]
    record(tmp_path, saved)
    row = json.loads((tmp_path / RESULTS).read_text().splitlines()[0])
    assert (row["estimate"], row["interval"], row["units"]) == (None, [None, None], [])
    assert row["unresolved"] == "3 examples have memorization above .5"
    assert read_results(tmp_path) == saved


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unresolved": ""}, "estimate is None and unresolved ''; give one"),
        ({"estimate": 0.5}, "estimate is 0.5 and unresolved '3 examples"),
        ({"verdict": "supported"}, "no estimate but verdict 'supported'"),
        ({"parts": (Part("", "> 0", 0.5, (0.4, 0.6), "supported", None),)}, r"\(Part\("),
        ({"units": ({"seed": "0", "value": 1.0},)}, "'seed': '0'"),
        ({"interval": (0.4, 0.6)}, r"\(0.4, 0.6\)"),
    ],
)
def test_what_cannot_be_resolved_has_a_reason_and_no_numbers(changes, said):
    with pytest.raises(ValueError, match=said):
        unresolved(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"estimate": math.nan},
        {"estimate": math.inf},
        {"interval": (math.nan, 1.0)},
        {"interval": (0.6, 0.5)},
        {"schema": 2},
        {"tier": "tpu"},
        {"verdict": "passed"},
        {"expected": "void"},
        {"arm": "control", "verdict": "void"},
    ],
)
def test_a_result_that_makes_no_sense_is_refused(changes):
    with pytest.raises(
        ValueError, match=next(iter(changes)) if "arm" not in changes else "verdict"
    ):
        result(**changes)


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("nan"), np.zeros(2), {1, 2}])
def test_a_value_that_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path, value):
    record(tmp_path, [result()])
    before = (tmp_path / RESULTS).read_bytes()
    with pytest.raises(ValueError, match="units"):
        record(tmp_path, [result(units=({"seed": "0", "value": value},))])
    assert (tmp_path / RESULTS).read_bytes() == before


def test_an_arm_given_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'observed' of one-pair-suffices twice"):
        record(tmp_path, [result(), result()])
    with pytest.raises(ValueError, match="two versions"):
        record(tmp_path, [result(), control(version=2)])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "not JSON"),
        (b"[1]", "a JSON list"),
        (b'{"schema": 1, "estimate": NaN}', "NaN"),
        (b'{"schema": 1}', "misses field 'claim'"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, said):
    record(tmp_path, [result()])
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ValueError, match=rf"{RESULTS}, line 2: .*{said}.*run its claim again"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "schema 2, and this benchsuite reads schema 1"),
        ({"estimate": "0.5"}, r"field 'estimate' is '0.5', expected float \| None"),
        ({"estimate": None}, "estimate is None and unresolved ''"),
        ({"seconds": None}, "field 'seconds' is None, expected float"),
        ({"version": True}, "field 'version' is True, expected int"),
        ({"models_trained": 1.5}, "field 'models_trained' is 1.5, expected int"),
        ({"interval": [0.1]}, "field 'interval'"),
        ({"units": [3]}, "field 'units' is 3"),
        ({"parts": [3]}, "3 where a part was expected"),
        ({"parts": [{"name": ""}]}, "the part misses field 'rule'"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"verdict": "passed"}, "verdict is 'passed'"),
    ],
)
def test_a_line_of_another_shape_is_named(tmp_path, changes, said):
    line_edited(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"{RESULTS}, line 1: .*{said}"):
        read_results(tmp_path)


def test_lines_from_before_looks_are_read(tmp_path):
    record(tmp_path, [result(look=2, looks=3, models_saved=512)])
    (read,) = read_results(tmp_path)
    assert (read.look, read.looks, read.models_saved) == (2, 3, 512)
    path = tmp_path / RESULTS
    row = json.loads(path.read_text())
    path.write_text(
        json.dumps({key: row[key] for key in row if key not in ("look", "looks", "models_saved")})
        + "\n"
    )
    assert read_results(tmp_path) == [result()]


def test_a_repeated_line_is_named(tmp_path):
    record(tmp_path, [result()])
    path = tmp_path / RESULTS
    path.write_text(path.read_text() * 2)
    with pytest.raises(ValueError, match=r"line 2: .* as line 1"):
        read_results(tmp_path)


def test_a_file_that_cannot_be_understood_is_not_overwritten(tmp_path):
    (tmp_path / RESULTS).write_text('{"schema": 2}\n')
    with pytest.raises(ValueError, match="schema 2"):
        record(tmp_path, [result()])
    assert (tmp_path / RESULTS).read_text() == '{"schema": 2}\n'


def test_a_folder_that_cannot_be_written_names_the_option(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to .*file/reports .*--reports"):
        record(tmp_path / "file" / "reports", [result()])


def test_a_full_disk_leaves_the_old_file_and_no_half_of_a_new_one(tmp_path, monkeypatch):
    record(tmp_path, [result()])

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*--reports"):
        record(tmp_path, [result(estimate=0.94)])
    assert read_results(tmp_path) == [result()]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".results.lock", RESULTS]


def test_an_artifact_is_read_back_only_as_it_was_saved(tmp_path):
    saved = save_artifact(tmp_path, "roc", "a.digits-mlp.cpu", names=["all"], fpr_0=[0.0, 1.0])
    assert saved.path == "artifacts/a.digits-mlp.cpu.roc.npz"
    arrays = load_artifact(tmp_path, saved)
    assert arrays["names"].tolist() == ["all"]
    assert arrays["fpr_0"].tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="not the file"):
        load_artifact(tmp_path, replace(saved, digest="0" * 64))
    (tmp_path / saved.path).unlink()
    with pytest.raises(ValueError, match="missing"):
        load_artifact(tmp_path, saved)


def test_saving_the_same_arrays_gives_the_same_digest(tmp_path):
    assert save_artifact(tmp_path, "roc", "a", x=[1.0]) == save_artifact(
        tmp_path, "roc", "a", x=[1.0]
    )


def test_an_artifact_of_objects_or_outside_the_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="x is an array of objects"):
        save_artifact(tmp_path, "roc", "a", x=np.array([None]))
    for path in ("/etc/passwd", "../x.npz"):
        with pytest.raises(ValueError, match="inside the reports folder"):
            Artifact("roc", path, "00")
