"""The audit of one trained model for a feature that may have been on a training image.

`pytest claims/test_feature_audit.py --audit mylab.audit:case` asks it of a model of your own, by
its predictions alone: see `benchsuite.FeatureCase`. Without the option the model is scikit-learn's
MLPClassifier, trained on digits of which one that is hard to fit bears the letter A.
"""

from benchsuite.claim import REFUTED, Family, claim
from benchsuite.stats.verdict import greater

AUDIT = Family("audit", "Audits of one model", claims=1)


@claim(
    id="feature-memorized-by-model",
    version=1,
    family=AUDIT,
    says="The audited model has memorized the feature.",
    measures="how far the feature moves it beyond what one clean model in twenty exceeds, in "
    "standard deviations of random glyphs",
    source="Measuring Unintended Memorisation of Unique Private Features in Neural Networks, 3.3",
    paper="a method",
    rule=greater(than=0.0),
    controls={"clean-model": REFUTED},
    units={"smoke": 8, "cpu": 8, "gpu": 8},
    subjects={"smoke": (), "cpu": ("sklearn-digits28",), "gpu": ()},
)
def test_this_model_memorized_the_feature(feature_audit):
    """Units are parts of the images that it is asked about; the false alarm rate is 5 % of models.

    A clean model stands in for it as the control, held against the others: the one whose effect is
    in the middle of all.
    """
    yield from feature_audit.excess()
