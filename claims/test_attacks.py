"""Family A2: attacks, mixtures and groups.

From "Exploring Connections Between Memorization And Membership Inference" (MIA): which of an
under-represented group's examples attacks do best on, and what explains it.

Margins were set on mixtures of other outliers, in a pilot and two runs of the claims, each with
outliers drawn anew; those decided here were drawn for the third. What the runs moved: singletons
must do better by a factor of 1.25, not 1.1; groups are compared in parts of one size, for random
outliers as few as the singletons had up to 2.8 times the TPR of all; 1 % is added to a TPR whose
logarithm is taken; planted singletons may be unexposed up to 10 %, not 5 (one of 40 is); removals
are compared with random ones, which cost a point by themselves. Shokri's attack reads log
probabilities since a run in which, on probabilities, it found no highly memorized member at that
FPR; photographs are trained with learning rate 0.2 and docstrings with 0.5, for with 0.1 too little
was fitted; thresholds of singletons, .5 with PixMix and .8 with photographs, are such that the
groups are large enough for a TPR and not the whole. One bound was moved after the run that decides:
many outliers are not exposed where a quarter is, not a tenth, for with photographs .113 lay on it.
"""

import math

from benchsuite.claim import Declared, Family, claim
from benchsuite.data.tabular import FLIPPED
from benchsuite.experiments.groups import HIGHLY_MEMORIZED, TOP
from benchsuite.stats.verdict import all_of, equivalent, greater, less

A2 = Family("A2", "Attacks, mixtures and groups", claims=8)
MIA = "Exploring Connections Between Memorization And Membership Inference"

PAPERS_MIXTURES = (
    "mnist-augmnist-cnn32",
    "mnist-svhn-cnn32",
    "mnist-usps-cnn32",
    "mnist-cifar10-cnn64",
    "cifar10-augcifar10-resnet18",
    "cifar10-cifar100-resnet9",
)
MIXTURES = {
    "smoke": ("digits-mix-tiny",),
    "cpu": ("digits-pixmix", "digits-photos"),
    "gpu": PAPERS_MIXTURES,
}
ALONE = {"smoke": (), "cpu": ("digits-mlp",), "gpu": ("mnist-cnn32", "cifar10-resnet9-70")}
BLOCKS = {"smoke": 3, "cpu": 10, "gpu": 10}
UNITS_OF_128 = {"smoke": 3, "cpu": 12, "gpu": 8}
UNITS_OF_128_OF_ALL = {"smoke": 4, "cpu": 16, "gpu": 12}
COMPARED = ("less MSP", "less energy", "less MSP, all examples", "less energy, all examples")
REMOVAL_BLOCKS = {"smoke": 2, "cpu": 6, "gpu": 4}


@claim(
    id="memorized-beat-other-outliers",
    version=1,
    family=A2,
    says="Every attack does better on memorized singletons than on other outliers.",
    measures="log ratio, of groups of one size, of misranked pairs (1 - AUROC) or of the TPR",
    source=f"{MIA}, Section 4.2, Tables 1 and 4",
    paper="LiRA on MNIST + augMNIST: AUROC .87 on outliers, 1.0 on singletons; TPR .28 and 1.0",
    rule=all_of(greater(than=math.log(1.25))),
    controls={"singletons-at-random": all_of(less(than=math.log(1.25)))},
    units=BLOCKS,
    subjects={tier: (*MIXTURES[tier], *ALONE[tier]) for tier in MIXTURES},
    figures=("attack-table", "mixture", "shadow-count"),
)
def test_memorized_examples_beat_other_outliers(attacks):
    """Against the group that they are from and against the subpopulation, where there is one.

    Singletons are part of the outliers that they are compared with, as in the paper, which makes
    the contrast smaller than it could be. Of a pool of one group they are compared with all. By the
    paper's own numbers the rule fails for Yeom's attack, whose TPR is 0 on nearly all rows, and for
    Sablayrolles' on CIFAR-10 + CIFAR-100, whose subpopulation has an AUROC of 1 too.
    """
    yield from attacks.singletons_against_others()


@claim(
    id="outliers-are-more-exposed",
    version=1,
    family=A2,
    says="Every attack does better on outliers, and on a subpopulation of them, than on all.",
    measures="log ratio, of groups of one size, of misranked pairs (1 - AUROC)",
    source=f"{MIA}, Section 4.2, Takeaway 1, Tables 1 and 4",
    paper="LiRA on MNIST + augMNIST: AUROC .53 on all, .87 on outliers, .96 on the subpopulation",
    rule=all_of(**{"*misranked*": greater(than=math.log(1.1))}),
    controls={"groups-at-random": all_of(**{"*misranked*": less(than=math.log(1.1))})},
    units=BLOCKS,
    subjects=MIXTURES,
    declared={
        "digits-pixmix/cpu": Declared(
            "refuted",
            "All outliers together are more exposed than all examples, but the subpopulation is "
            "not: the smallest cluster of the network's features is a class of digits, not a kind "
            "of copies, and of the 300 copies those in it are ordinary. In TPR, which is reported, "
            "Yeom's and Song and Mittal's attacks find no more of the outliers than of all.",
        )
    },
)
def test_outliers_are_more_exposed(attacks):
    """The other half of the paper's order, decided apart so that neither half hides the other.

    In AUROC; the TPR of outliers against that of all examples is reported. There a control cannot
    be had: of 300 random examples the worst few decide, so that one random group finds twice what
    another does. By the paper's own numbers Yeom's attack has a TPR of 0 on both.
    """
    yield from attacks.outliers_against_all()


@claim(
    id="lira-beats-other-attacks",
    version=1,
    family=A2,
    says="LiRA is the best of the paper's attacks on under-represented examples.",
    measures="LiRA's TPR at 0.1 % FPR less another attack's, on random outliers",
    source=f"{MIA}, Section 4.2, Tables 1 and 4, column Under-represented",
    paper="on MNIST + augMNIST .28 against .01 and less",
    rule=all_of(
        **{
            attack: greater(than=0.02)
            for attack in ("Yeom", "Shokri", "Song & Mittal", "Sablayrolles")
        }
    ),
    controls={
        "permuted-membership": all_of(
            **{
                attack: less(than=0.02)
                for attack in ("Yeom", "Shokri", "Song & Mittal", "Sablayrolles")
            }
        )
    },
    units=BLOCKS,
    subjects=MIXTURES,
)
def test_lira_beats_the_other_attacks(attacks):
    """RMIA is younger than the paper: reported, and so is every difference on singletons."""
    yield from attacks.lira_against_others()


@claim(
    id="not-all-outliers-are-exposed",
    version=1,
    family=A2,
    says="Some outliers are exposed, and many are not.",
    measures="share of the outliers with a privacy score below 1, and of those above",
    source=f"{MIA}, Appendix A.1, Figure 2",
    paper="a large fraction of the outliers has a privacy score below 2",
    rule=all_of(**{"not exposed": greater(than=0.25), "exposed": greater(than=0.1)}),
    controls={"planted-singletons": all_of(**{"not exposed": less(than=0.1)})},
    units=UNITS_OF_128_OF_ALL,
    subjects=MIXTURES,
    declared={
        "digits-photos/cpu": Declared(
            "refuted",
            "With photographs one outlier in nine is not exposed: the patches are so unlike "
            "digits, and so unlike each other, that the models learn most of them by heart. With "
            "copies by PixMix three in four are not exposed.",
        )
    },
    figures=("privacy-by-group",),
)
def test_not_all_outliers_are_exposed(outliers):
    """Held against 1, not the paper's 2, which is reported.

    Below 2 lie 15 to 30 % of the planted singletons too: mislabelled digits, each of which every IN
    model and hardly any OUT model answers with its label. A bound that calls so many of them not
    exposed tells nothing.
    """
    yield from outliers.exposure()


@claim(
    id="memorization-predicts-exposure",
    version=1,
    family=A2,
    says="Memorization ranks examples by exposure better than scores of being an outlier do.",
    measures="Spearman correlation with the privacy score: memorization's less the detector's",
    source=f"{MIA}, Appendix A, Figures 2 and 4a",
    paper="outlier scores at most .551",
    rule=all_of(**dict.fromkeys(COMPARED, greater(than=0.05))),
    controls={"shuffled-memorization": all_of(**dict.fromkeys(COMPARED, less(than=0.05)))},
    units=UNITS_OF_128,
    subjects=MIXTURES,
    declared={
        "digits-*/cpu": Declared(
            "refuted",
            "Among the examples that are memorized at all it does, with a Spearman correlation of "
            ".93 against .83 of MSP on copies by PixMix and .94 against .81 with photographs (all "
            "models together). Over all examples MSP does better, .87 against .72 and .89 against "
            ".76: three in four have memorization 0, and among those MSP still tells who is less "
            "sure and a little more exposed.",
        )
    },
    figures=("outlier-scatter",),
)
def test_memorization_predicts_exposure(outliers):
    """On the examples that are memorized at all, where ties end, and on all examples.

    A privacy score of 128 models is noisy, which makes all correlations with it smaller, and their
    differences; the figure has them over all models together.
    """
    yield from outliers.prediction()


@claim(
    id="ood-is-not-memorization",
    version=1,
    family=A2,
    says="Scores of being an outlier are a poor proxy of memorization.",
    measures="absolute Spearman correlation of a detector's score with memorization",
    source=f"{MIA}, Appendix E, Figure 3",
    paper="no correlation",
    rule=all_of(
        **{
            "MSP": less(than=0.6),
            "energy": less(than=0.6),
            "again": greater(than=0.8),
            "again less MSP": greater(than=0.1),
            "again less energy": greater(than=0.1),
        }
    ),
    controls={
        "independent-memorization": all_of(MSP=greater(than=0.6), energy=greater(than=0.6)),
    },
    units=UNITS_OF_128,
    subjects=MIXTURES,
    declared={
        "digits-*/cpu": Declared(
            "refuted",
            "On the digits the two go together: what models that were not trained on it are unsure "
            "of, they get wrong, and that is where training on it helps. The correlation with MSP "
            "is .79 on copies by PixMix and .83 with photographs, with energy .51 and .72. It "
            "depends on the outliers: among the copies alone .86, among the photographs alone "
            "-.20. Memorization on independent models ranks it at .96 and .98.",
        )
    },
    figures=("memorization-levels",),
)
def test_outlier_scores_are_not_memorization(outliers):
    """Also held to lie below the correlation of memorization with itself on other models.

    What a score is must be more than 0.1 short of what memorization is, or noise would decide.
    """
    yield from outliers.proxies()


@claim(
    id="memorization-survives-removal",
    version=1,
    family=A2,
    says="Removing singletons hurts the rest of their subpopulation.",
    measures="error on the group's test examples: without singletons less without random ones",
    source=f"{MIA}, Appendix E (The Privacy Onion Effect)",
    paper="argument: the error shoots up",
    rule=all_of(singletons=greater(than=0.01)),
    controls={"random-removal": all_of(singletons=less(than=0.01))},
    units=REMOVAL_BLOCKS,
    subjects=MIXTURES,
    declared={
        "digits-pixmix/cpu": Declared(
            "inconclusive",
            "1.1 points more error than without random examples, on the bound of 1. In two "
            "earlier draws of the copies it was .3 points more and 1.0 less: what a removal costs "
            "depends on the draw more than on the models, which is what the interval is over, and "
            "nothing shoots up.",
        ),
        "digits-photos/cpu": Declared(
            "inconclusive",
            "The classes of photographs are hardly learned: 18 % of the group's test examples are "
            "right where chance is 10 %, so that no removal can hurt them by much.",
        ),
    },
)
def test_removing_singletons_hurts_their_subpopulation(outliers):
    """On test examples of the group, which no model is trained on.

    The singletons' own error rises by definition, and what is left of the group in the pool was
    selected by being easy.
    """
    yield from outliers.removal()


@claim(
    id="beyond-vision",
    version=1,
    family=A2,
    says="Advantage bounds memorization, and memorized examples need fewer shadow models, on "
    "tables and text too.",
    measures="LiRA's advantage less memorization by bin; log(models for all / for memorized ones)",
    source=f"{MIA}, Theorem 2 and Figure 1; its summary asks for other data",
    paper="-",
    rule=all_of(
        **{
            f"advantage less memorization, {TOP}": greater(than=-0.02),
            "log (all / memorized)": greater(than=math.log(4)),
        }
    ),
    controls={
        "permuted-membership": all_of(**{f"advantage less memorization, {TOP}": less(than=-0.02)}),
        "shuffled-memorization": all_of(
            **{"log (all / memorized)": equivalent(within=math.log(2))}
        ),
    },
    units={"smoke": 4, "cpu": 8, "gpu": 8},
    subjects={
        "smoke": ("digits-tiny",),
        "cpu": ("breast-cancer-mlp", "docstrings-mlp"),
        "gpu": ("breast-cancer-mlp", "docstrings-mlp"),
    },
    declared={
        "docstrings-mlp/cpu": Declared(
            "refuted",
            "On the docstrings advantage bounds memorization, but memorized texts need hardly "
            "fewer shadow models than all texts (1.5 times, where 4 were asked for): the models "
            "get 44 % of texts wrong that they were not trained on, so that two in five are "
            "highly memorized, and all texts are as easily attacked as those.",
        )
    },
    figures=("exposure-by-memorization", "shadow-count"),
)
def test_findings_hold_beyond_vision(membership):
    """Where labels were flipped on purpose, the share of them that is memorized is reported."""
    flipped = membership.pool.groups == FLIPPED
    for block in membership.blocks():
        excess = block.advantage - block.memorization
        top = block.averaged(lambda groups, excess=excess: float(excess[groups.bins[TOP]].mean()))
        everything = math.log(block.shadows_needed(slice(None)))
        memorized = block.averaged(
            lambda groups, block=block: math.log(block.shadows_needed(groups.highly_memorized))
        )
        numbers = {
            f"advantage less memorization, {TOP}": top,
            "log (all / memorized)": everything - memorized,
        }
        if flipped.any():
            found = block.memorization[flipped] > HIGHLY_MEMORIZED
            numbers["flipped labels that are highly memorized"] = float(found.mean())
        yield numbers
