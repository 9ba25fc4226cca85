"""Family S: speed that must change no score.

Models may be trained with products in bf16 or TF32, which are faster where the hardware has them.
Accuracy stays, as everybody knows; nobody had published whether memorization and an attack's scores
do. What float32's own scores do from one seed to another, on the same subsets, is the measure.

Margins were set after a pilot on digits-mlp with other seeds, 8 units of 128 models, before the
first run. There two seeds of float32 differed by a standard deviation per unit of .00024 in mean
memorization (of .035), .0015 in AUROC (of .606) and .048 in the logarithm of the TPR (of 2.5 %);
their memorization correlated at .95 and LiRA's scores at .76. The margins are 3 to 4 of these
deviations, and a loss of 2 % and 1 % of rank correlation.

A control was moved by the pilot. Weights that are kept in bf16 too, which is what all precisions
here avoid, train at 3 models per second, one after another, on 2 cores: too slow for a control. In
384 such models LiRA found 9 % fewer and its scores ranked worse by .028, so that the rule refutes
them (see the tests of power). Answers in bf16 cost nothing, and are what goes wrong without notice.

A first run on the digits moved another: float32 with another seed had to pass for the precision.
There it did; with the digits' CNN its TPR was too noisy to tell (a factor of .87, interval .72 to
1.05) while bf16's, of the same seed, was not. So it is reported. No margin was moved.
"""

import math

from benchsuite.claim import REFUTED, Family, claim
from benchsuite.stats.verdict import all_of, equivalent, greater

PAPERS = ("mnist-cnn32", "cifar10-resnet9")
ANY_PRECISION = {
    "family": Family("S", "Speed that changes no score", claims=2),
    "measures": (
        "differences from float32, and rank correlations with float32 of another seed less its own"
    ),
    "source": "Open: no public work says it of scores",
    "paper": "open",
    "rule": all_of(
        **{
            "memorization": equivalent(within=0.001),
            "AUROC": equivalent(within=0.005),
            "log TPR at 0.1 % FPR": equivalent(within=math.log(1.2)),
            "rank of memorization": greater(than=-0.02),
            "rank of LiRA's scores": greater(than=-0.01),
        },
    ),
    "controls": {"answers-in-bf16": REFUTED},
    "units": {"smoke": 2, "cpu": 6, "gpu": 6, "cifar10-resnet9/gpu": 4},
    "figures": ("precision-scores",),
}
"""What is declared alike of each."""


@claim(
    id="bf16-keeps-scores",
    version=1,
    says="Training with products in bf16 leaves memorization and LiRA's scores as float32's are.",
    subjects={"smoke": ("digits-tiny",), "cpu": ("digits-mlp",), "gpu": PAPERS},
    **ANY_PRECISION,
)
def test_bf16_keeps_scores(bf16):
    """Products and convolutions, while models train; what trained models are asked is float32.

    That it is, matters: from probabilities rounded to bf16 LiRA finds next to nobody.
    """
    yield from bf16.kept()


@claim(
    id="tf32-keeps-scores",
    version=1,
    says="Training with products in TF32 leaves memorization and LiRA's scores as float32's are.",
    subjects={"smoke": (), "cpu": (), "gpu": PAPERS},
    **ANY_PRECISION,
)
def test_tf32_keeps_scores(tf32):
    """On CUDA devices alone: elsewhere it is skipped, for there is no TF32."""
    yield from tf32.kept()
