"""What the page says of cost, on a made-up `benchmark.json`: every number here is synthetic."""

import json
import re

import numpy as np
import pytest

from benchsuite.report.build import build
from benchsuite.report.cost import BENCHMARKS, OURS, read_cost
from benchsuite.report.cost_figures import growth_figure

HERE = {"device": "cpu", "machine": "a synthetic machine", "cores": 2, "torch": "2.13.0"}


def benchmark(name, group, rounds=1, **info):
    return {
        "fullname": f"test_it.py::{name}",
        "group": group,
        "extra_info": HERE | info,
        "stats": {"rounds": rounds},
    }


def beside_the_loop(subject="digits-mlp", **info):
    return benchmark(
        f"test_{subject}",
        "training",
        **{
            "subject": subject,
            "models_per_second": 60.0,
            "loop_models_per_second": {"1": 6.0, "2": 5.0},
            "loop_in_every_core_models_per_second": 9.0,
            "ratio": 10.5,
            "accuracy": 0.95,
            "loop_accuracy": 0.952,
            "gflop_per_second": 96.8,
            "share_of_peak": 0.441,
        }
        | info,
    )


def other_ways(**info):
    ways = {"Subset and DataLoader": 3.0, "vmap(grad), 64 models": 30.0}
    return benchmark(
        "test_other_ways",
        "training",
        **{"subject": "digits-mlp", "models_per_second": ways, "accuracy": {}} | info,
    )


def growth(of, counts, training, estimates, says="tiny models"):
    """Times are constants times powers of the count: (constant, power)."""
    return [
        benchmark(
            f"test_{of}[{count}]",
            "growth",
            grows=of,
            says=says,
            models_per_second=1.0,
            **{"models": 256, "examples": 1500} | {of: count},
            seconds={
                "training": training[0] * count ** training[1],
                "estimates": estimates[0] * count ** estimates[1],
            },
        )
        for count in counts
    ]


MODELS = growth("models", (64, 256, 1024, 4096), (0.01, 1.0), (0.001, 0.5))
EXAMPLES = growth("examples", (256, 2048, 16384), (0.001, 0.9), (1e-5, 1.1), says="noisy digits")
WHOLE = [beside_the_loop(), other_ways(), *EXAMPLES, *reversed(MODELS)]


def saved(folder, benchmarks, **more):
    text = json.dumps(
        {
            "benchmarks": benchmarks,
            "datetime": "2026-11-21T20:25:52.878312+00:00",
            "commit_info": {"id": "85da8a40285a3ed5", "dirty": True},
        }
        | more
    )
    (folder / BENCHMARKS).write_text(text)
    return read_cost(folder)


def page_of(folder):
    html = build(folder).read_text()
    return html, re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\u00a0", " ")


# ---- speeds ------------------------------------------------------------------------------------


def test_ways_are_held_against_the_better_loop_of_their_subject(tmp_path):
    (speeds,) = saved(tmp_path, [beside_the_loop(), other_ways()]).speeds
    found = [(way.name, way.speed, way.ratio, way.accuracy) for way in speeds.ways]
    assert found == [
        (OURS, 60.0, 10.5, 0.95),  # the benchmark's own ratio, from rounds that took turns
        ("vmap(grad), 64 models", 30.0, 5.0, None),
        ("plain loop, a process a core", 9.0, 1.5, None),
        ("plain loop, 1 thread", 6.0, 1.0, 0.952),
        ("plain loop, 2 threads", 5.0, 5 / 6, 0.952),
        ("Subset and DataLoader", 3.0, 0.5, None),
    ]
    assert (speeds.subject, speeds.gflops, speeds.share) == ("digits-mlp", 96.8, 0.441)


def test_of_a_loop_that_was_timed_twice_the_one_with_more_rounds_is_shown(tmp_path):
    in_stacks = beside_the_loop(rounds=3, models_per_second={"in stacks": 50.0}, accuracy=None)
    once = beside_the_loop(
        models_per_second={"looped": 11.0}, ratio=1.9, loop_models_per_second={"1": 7, "4": 1}
    )
    for order in ([in_stacks, once], [once, in_stacks]):
        (speeds,) = saved(tmp_path, order).speeds
        assert [(way.name, way.speed, way.ratio) for way in speeds.ways] == [
            ("in stacks", 50.0, 10.5),
            ("looped", 11.0, 1.9),
            ("plain loop, a process a core", 9.0, 1.5),
            ("plain loop, 1 thread", 6.0, 1.0),
            ("plain loop, 2 threads", 5.0, 5 / 6),
            ("plain loop, 4 threads", 1.0, 1 / 6),
        ]


def test_without_a_loop_there_is_no_ratio(tmp_path):
    (speeds,) = saved(tmp_path, [other_ways()]).speeds
    assert [way.ratio for way in speeds.ways] == [None, None]


def test_subjects_and_devices_are_kept_apart(tmp_path):
    on_cuda = beside_the_loop(device="cuda", loop_models_per_second={"2": 30.0})
    cost = saved(tmp_path, [beside_the_loop(), on_cuda, beside_the_loop("digits-cnn")])
    assert [(each.subject, each.device) for each in cost.speeds] == [
        ("digits-mlp", "cpu"),
        ("digits-mlp", "cuda"),
        ("digits-cnn", "cpu"),
    ]
    assert {len(each.ways) for each in cost.speeds} == {3, 4}
    assert cost.facts["Device"] == "cpu / cuda"


def test_a_training_benchmark_of_no_subject_is_left_out(tmp_path):
    unnamed = benchmark("test_1024", "training")
    assert len(saved(tmp_path, [beside_the_loop(), unnamed]).speeds) == 1


# ---- growth ------------------------------------------------------------------------------------


def test_slopes_are_the_powers_of_the_counts(tmp_path):
    models, examples = saved(tmp_path, WHOLE).growth
    assert (models.of, examples.of) == ("models", "examples")
    assert models.counts.tolist() == [64, 256, 1024, 4096]
    np.testing.assert_allclose(models.seconds["training"], [0.64, 2.56, 10.24, 40.96])
    assert models.slope("training") == pytest.approx(1.0)
    assert models.slope("estimates") == pytest.approx(0.5)
    assert examples.slope("training") == pytest.approx(0.9)
    assert examples.slope("estimates") == pytest.approx(1.1)


def test_the_figure_shows_every_point_and_says_the_slopes(tmp_path):
    drawing = growth_figure(saved(tmp_path, WHOLE).growth)
    first, second = drawing.panels
    assert "training: slope 1.00; estimates: slope 0.50" in first
    assert "training: slope 0.90; estimates: slope 1.10" in second
    for panel, counts, powers in ((first, 4, (1.0, 0.5)), (second, 3, (0.9, 1.1))):
        training, estimates = marks(panel)
        assert training.shape == estimates.shape == (counts, 2)
        rises = [np.diff(each[:, 1]) / np.diff(each[:, 0]) for each in (training, estimates)]
        for rise, power in zip(rises, powers, strict=True):
            np.testing.assert_allclose(rise / rises[0].mean(), power / powers[0], rtol=0.01)
    said = "From 64 to 4,096 models (tiny models) the time grows: training from 640 ms to 41 s"
    assert said in drawing.caption
    assert "(noisy digits)" in drawing.caption


def marks(svg):
    """Places [points, x and y] of each series' marks; ticks are marks along one line."""
    found = {}
    for mark, attributes in re.findall(r'<use href="#([^"]+)"([^>]*)/>', svg):
        x, y = (float(re.search(rf'{axis}="([^"]+)"', attributes)[1]) for axis in "xy")
        found.setdefault(mark, []).append((x, y))
    places = [np.array(each) for each in found.values()]
    return [each for each in places if np.ptp(each, axis=0).all()]


def test_one_count_has_no_slope_and_no_figure(tmp_path):
    cost = saved(tmp_path, [beside_the_loop(), MODELS[0]])
    assert cost.growth == ()
    assert growth_figure(cost.growth) is None


# ---- the page ----------------------------------------------------------------------------------


def test_the_page_has_a_section_of_its_own(tmp_path):
    saved(tmp_path, WHOLE)
    html, text = page_of(tmp_path)
    assert html.count('id="cost"') == 1
    assert html.count('<svg class="plot"') == 2
    for wanted in (
        "only benchmarks have run",
        "What training costs",
        "digits-mlp on cpu, 96.8 GFLOP/s, 44.1 % of the measured peak",
        "train_shadows 60.0 10.50 95.0 %",
        "plain loop, 2 threads 5.00 0.83 95.2 %",
        "Subset and DataLoader 3.00 0.50 –",
        "4,096 41.0 0.0640",
        "Measured 2026-11-21 20:25",
        "Machine a synthetic machine",
        "Commit 85da8a4-dirty",
    ):
        assert wanted in text, wanted


def test_without_benchmarks_there_is_no_section(tmp_path):
    assert read_cost(tmp_path) is None
    with pytest.raises(ValueError, match="no results yet"):
        build(tmp_path)


def test_names_are_escaped(tmp_path):
    attack = "<script>alert('x')</script>"
    saved(tmp_path, [beside_the_loop(attack, machine=attack), *growth_named(attack)])
    assert "<script" not in page_of(tmp_path)[0]


def growth_named(says):
    return growth("models", (64, 128), (1, 1), (1, 1), says=says)


def test_the_same_benchmarks_give_the_same_bytes(tmp_path):
    saved(tmp_path, WHOLE)
    assert page_of(tmp_path) == page_of(tmp_path)


# ---- what cannot be understood -----------------------------------------------------------------


def changed(position, **info):
    found = [json.loads(json.dumps(each)) for each in WHOLE]
    found[position]["extra_info"] |= info
    return {"benchmarks": found}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is not JSON"),
        (b"\xff\xfe\xfa", "it is not JSON"),
        ("[]", "no list of benchmarks"),
        ({"benchmarks": 3}, "no list of benchmarks"),
        ({"benchmarks": []}, "none of its benchmarks trains"),
        ({"benchmarks": [{"group": "training"}]}, "has no extra_info"),
        (changed(0, models_per_second="fast"), "models_per_second of test_it.py::test_digits-mlp"),
        (changed(0, ratio=float("nan")), "ratio of test_it.py::test_digits-mlp is nan"),
        (changed(0, share_of_peak=-1), "share_of_peak of .* is -1, expected a number above 0"),
        (changed(0, accuracy=True), "accuracy of .* is True"),
        (changed(0, subject=7), "subject of .* is 7, expected a text"),
        (changed(2, seconds={"training": 1.0}), "seconds of .*256. lacks estimates"),
        (changed(2, seconds={"training": 0, "estimates": 1}), "seconds of .* is 0"),
        (changed(2, examples=2048), "two of its benchmarks of growth have the same number"),
        (changed(2, says=None), "says of .* is None"),
    ],
)
def test_a_broken_file_gives_one_sentence_and_a_page(tmp_path, text, said):
    data = json.dumps(text) if isinstance(text, dict) else text
    (tmp_path / BENCHMARKS).write_bytes(data if isinstance(data, bytes) else data.encode())
    cost = read_cost(tmp_path)
    assert re.search(said, cost.missing), cost.missing
    assert "\n" not in cost.missing
    assert (cost.speeds, cost.growth) == ((), ())
    _, page = page_of(tmp_path)
    assert "benchmark.json cannot be understood: " in page
    assert "make bench measures it again" in page


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path):
    (tmp_path / BENCHMARKS).mkdir()
    assert read_cost(tmp_path).missing == "benchmark.json cannot be read (Is a directory)"
