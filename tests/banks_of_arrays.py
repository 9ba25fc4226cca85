"""A workshop that trains nothing: its banks' columns are what a function says they are.

That function is given a subject, its design, the rows of one block and the block's number, and
returns columns by name; those that nobody asked for are not kept. So a bank begins with the shorter
ones of its subject and design, as a trained one does.
"""

from types import SimpleNamespace

import numpy as np

from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced


class Bank:
    def __init__(self, subject, models, design, columns, says):
        self.subject, self.models, self.design = subject, models, design
        self.execution = SimpleNamespace(device="cpu")
        self.fill = SimpleNamespace(seconds=7.0, models_trained=models, models_reused=0)
        self.membership = design.rows(0, models)
        blocks = [
            says(subject, design, rows, number)
            for number, rows in enumerate(np.split(self.membership, models // design.block))
        ]
        self.columns = {
            name: np.concatenate([block[name] for block in blocks])
            for name in columns
            if name in blocks[0]
        }

    def column(self, probe, what, epoch=None):
        return self.columns[f"{probe}.{what}" + (f"@{epoch}" if epoch else "")]


class Workshop:
    """Keeps what it was asked for, once, and gives the same bank to whoever asks for the same."""

    def __init__(self, says):
        self.says, self.asked, self.banks = says, [], {}

    def bank(self, subject, models, *, columns=COLUMNS, design=None):
        design = design or Balanced(len(subject.pool), subject.share)
        assert models % design.block == 0
        asked = subject, models, design, tuple(columns)
        key = subject.name, subject.recipe, subject.pool.digest, *asked[1:]
        if key not in self.banks:
            self.asked.append(asked)
            self.banks[key] = Bank(subject, models, design, columns, self.says)
        return self.banks[key]


def right(inside, wrong_in, wrong_out):
    """Of each example's IN and OUT models the first so many wrong, [models, examples].

    Args:
        inside: membership, [models, examples].
        wrong_in: counts, [examples] or one for all.
        wrong_out: likewise.
    """
    place_in, place_out = np.cumsum(inside, axis=0), np.cumsum(~inside, axis=0)
    return np.where(inside, place_in > wrong_in, place_out > wrong_out)


def held_out(models, examples, count):
    """So many of the test examples right, [models, examples]."""
    return np.tile(np.arange(examples) < count, (models, 1))
