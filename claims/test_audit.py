"""The audit of a training recipe, and of one model that somebody else trained.

    pytest claims/test_audit.py --subject mylab:subject
    pytest claims/test_audit.py --subject mylab:subject --target mylab:predict
    pytest claims/test_audit.py --matrix shadows.npz --target outputs.csv

Each writes a page to hand on, `audit-NAME.html` beside the report, with the examples that are
exposed; `--epsilon 8` adds what remedies would change. See `benchsuite.audit` for the same at the
prompt. Without a target one more model of the subject's recipe is audited.
"""

from benchsuite.claim import Family, claim
from benchsuite.stats.verdict import all_of, greater, less

AUDIT = Family("audit of a recipe", "Audits of a recipe and of one model", claims=2)
SUBJECTS = {"smoke": ("digits-tiny",), "cpu": ("digits-mlp",), "gpu": ()}


@claim(
    id="recipe-exposes-members",
    version=1,
    family=AUDIT,
    says="Models trained by this recipe give some of their training examples away.",
    measures="share of the members that LiRA finds, over the share of others that it accuses",
    source="Carlini et al. (2022), Membership Inference Attacks From First Principles",
    paper="a method",
    rule=all_of(**{"found / by chance": greater(than=10)}),
    controls={"permuted-membership": all_of(**{"found / by chance": less(than=10)})},
    units={"smoke": 4, "cpu": 4, "gpu": 4},
    subjects=SUBJECTS,
)
def test_this_recipe_exposes_members(audited):
    """At 0.1 % false alarms, or the least rate that so many examples and models resolve.

    A unit is a fold of the shadow models.

    Supported, the recipe leaks; refuted, this attack finds hardly anybody, which is no guarantee.
    """
    yield from audited.members()


@claim(
    id="model-exposes-members",
    version=1,
    family=AUDIT,
    says="The audited model gives away that it was trained on some of these examples.",
    measures="share accused of the most exposed tenth, beyond what one in twenty shadow models "
    "exceeds on what it was not trained on",
    source="Carlini et al. (2022), Membership Inference Attacks From First Principles",
    paper="a method",
    rule=all_of(**{"beyond shadow models": greater(than=0.0)}),
    controls={"shadow-stands-in": all_of(**{"false alarms": less(than=0.15)})},
    units={"smoke": 8, "cpu": 8, "gpu": 8},
    subjects=SUBJECTS,
)
def test_this_model_exposes_members(audited):
    """A unit is a group of shadow models, which says what is chance.

    The false alarm rate is the model's, over models trained as the shadow models are: at most one
    in twenty that was trained on none of these examples is called so. That the answer does not hang
    on which shadow models there are is what the interval is for. A target that is unlike them on
    examples that it was not trained on is not decided.
    """
    yield from audited.target()
