"""The audit of one trained model for a feature that may have been on a training image.

`pytest claims/test_feature_audit.py --audit mylab.audit:case` asks it of a model of your own, by
its predictions alone: see `benchsuite.FeatureCase`. Without the option the model is scikit-learn's
MLPClassifier, trained on digits of which one that is hard to fit bears the letter A.
"""

from benchsuite.claim import Family, claim
from benchsuite.stats.verdict import all_of, greater, less

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
    rule=all_of(**{"beyond clean models": greater(than=0.0)}),
    controls={"clean-model": all_of(**{"false alarms": less(than=0.25)})},
    units={"smoke": 8, "cpu": 8, "gpu": 8},
    subjects={"smoke": (), "cpu": ("sklearn-digits28",), "gpu": ()},
)
def test_this_model_memorized_the_feature(feature_audit):
    """Units are parts of the images that it is asked about.

    Of clean models at most one in twenty is called so, where their effects are normal: as the
    control each of them stands in, held against the others, and hardly any may be called so.
    """
    yield from feature_audit.parts()
