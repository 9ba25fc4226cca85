"""The shadow bank: what many models say of the same examples, on disk."""

import hashlib
import json
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from benchsuite.shadows import columns
from benchsuite.shadows.contents import contents
from benchsuite.shadows.design import Design, Joining, design_of
from benchsuite.shadows.execution import Execution
from benchsuite.shadows.reading import Reader, Shards, axis_of_examples, shape_of
from benchsuite.shadows.shards import BankError, Header, lock, shard_path, write_atomically
from benchsuite.subject import Subject
from benchsuite.training import SEMANTICS

SCHEMA = 1


@dataclass(frozen=True)
class Fill:
    """What one call of `train_shadows` did.

    Attributes:
        models_trained: trained by this process in this call.
        models_reused: whose columns were there, or were filled by another process.
        seconds: spent filling.
    """

    models_trained: int
    models_reused: int
    seconds: float


class ShadowBank:
    """Shadow models' outputs by column, one row per model; read-only.

    What is too large for memory is read for some of the examples, or block by block (see `blocks`).
    Before anything of a file is given out its digest is checked, which reads the whole file, once
    for as long as the file stays as it is. `print(bank)` says what the folder holds.

    From `train_shadows` it shows the models that were asked for, however many more the folder
    holds, so that a result does not depend on what else was trained; from `open`, all that it
    held then.

    Attributes:
        folder: where the files lie.
        manifest: the bank's identity, execution and provenance.
        fill: what the call that returned this bank did, or None after `open`.
        models: number of models, counted from id 0 without a gap.
    """

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        models: int | None = None,
        fill: Fill | None = None,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.fill = fill
        self.models = self._models_with("membership") if models is None else models
        self._reader = Reader()

    @classmethod
    def open(cls, folder: str | Path) -> "ShadowBank":
        """Open the bank in `folder`.

        Raises:
            BankError: there is no bank, or its manifest is broken or of another version.
        """
        path = Path(folder) / "manifest.json"
        try:
            manifest = json.loads(path.read_text())
        except FileNotFoundError:
            raise BankError(
                f"no bank in {folder}: manifest.json is missing; make one with train_shadows"
            ) from None
        except (OSError, ValueError) as error:
            raise BankError(f"bank manifest {path} cannot be read: {error}") from error
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            raise BankError(
                f"bank manifest {path} is of another version than this benchsuite's {SCHEMA}: "
                "choose another folder with --banks, or delete the bank"
            )
        try:
            changed = manifest["key"] != _key(manifest["identity"])
            Execution(**manifest["execution"])
        except (KeyError, TypeError):
            changed = True
        if changed:
            raise BankError(
                f"bank manifest {path} was changed: its key does not match its identity, or parts "
                "are missing; choose another folder with --banks, or delete the bank"
            )
        return cls(Path(folder), manifest)

    @classmethod
    def for_subject(
        cls, root: Path, subject: Subject, design: Design, choose: Callable[[], Execution]
    ) -> "ShadowBank":
        """Open the subject's bank below `root`, or make an empty one of the execution chosen then.

        Raises:
            ValueError: the design is over another number of examples than the subject's pool has,
                or its models have training subsets of different sizes without a private recipe.
            BankError: the folder cannot be written, or holds a bank of another manifest.
        """
        if design.examples != len(subject.pool):
            raise ValueError(
                f"design is over {design.examples} examples, but the pool of {subject.name} has "
                f"{len(subject.pool)}: make it over len(subject.pool)"
            )
        if isinstance(design, Joining) and subject.recipe.privacy is None:
            raise ValueError(
                f"design is Joining, of training subsets of different sizes, but the recipe of "
                f"{subject.name} has privacy=None, which trains on subsets of one size: give it "
                "privacy=Privacy(noise, clip), or use Replacing"
            )
        identity = {
            "subject": subject.identity(),
            "design": design.identity(),
            "semantics": SEMANTICS,
        }
        key = _key(identity)
        folder = root / f"{subject.name}-{key[:12]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BankError(
                f"bank folder {folder} cannot be made ({error.strerror}): choose another with "
                "--banks"
            ) from error
        path = folder / "manifest.json"
        if not path.exists():
            manifest = {
                "schema": SCHEMA,
                "key": key,
                "identity": identity,
                "execution": asdict(choose()),
                "made_with": {
                    "torch": torch.__version__,
                    "numpy": np.__version__,
                    "python": platform.python_version(),
                    "machine": platform.machine(),
                },
            }
            with lock(folder, "manifest", wait=True):
                if not path.exists():  # another process made it meanwhile
                    write_atomically(path, (json.dumps(manifest, indent=2) + "\n").encode())
        bank = cls.open(folder)
        if bank.manifest["key"] != key:
            raise BankError(
                f"bank folder {folder} holds another bank (key {bank.manifest['key'][:12]}, "
                f"expected {key[:12]}): choose another folder with --banks, or delete it"
            )
        return bank

    @property
    def key(self) -> str:
        """Digest of all that the models depend on."""
        return str(self.manifest["key"])

    @property
    def execution(self) -> Execution:
        """How this bank's models are computed."""
        return Execution(**self.manifest["execution"])

    @property
    def design(self) -> Design:
        """Who is IN, as a rule; `membership` has it as it was when the models were trained."""
        return design_of(self.manifest["identity"]["design"])

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it holds for every one of its models, such as "pool.confidence"."""
        names = {re.sub(r"\.\d{6}-\d{6}$", "", path.stem) for path in self._files()}
        models = self.models
        whole = {n for n in names if models and self._models_with(n) >= models}
        return tuple(sorted(whole - {"membership", "weights"}))

    @property
    def membership(self) -> NDArray[np.bool_]:
        """Who was IN: bool [models, examples]."""
        return self.membership_of(slice(None))

    def membership_of(self, examples: slice | ArrayLike) -> NDArray[np.bool_]:
        """Who was IN, of some of the pool's examples, as for `column`: bool [models, examples]."""
        members = self._reader.read(self._shards("membership"), "membership", examples)
        return np.asarray(members, dtype=np.bool_)

    def column(
        self,
        probe: str,
        what: str,
        epoch: int | None = None,
        examples: slice | ArrayLike = slice(None),
    ) -> NDArray[Any]:
        """What the models say of a probe's examples, [models, examples, ...].

        Args:
            probe: "pool", "test", "validation", or the name of a probe given to `train_shadows`.
            what: "confidence" (scaled), "correct" (bool), "gap" (the highest logit less the second
                highest), "logits" (a last axis of classes), "loss" (cross-entropy, in nats),
                "squared_gradient" (squared norm of the loss's gradient over all parameters),
                "leverage" (of the confidence's gradient among those of the probe's examples, in [0,
                1]: see `benchsuite.training.leverage`), or
                "divergence" (KL of the outputs for each clean image, which is group 0 of the
                probe, from those for its version in each other group, in nats; [models, groups -
                1, images]). All but "correct" are float32.
            epoch: at whose end, from 1, as in the column "probe.what@epoch"; NaN of a model whose
                training had stopped before. None: of the trained models.
            examples: which to read, as a slice or integers from 0; of a divergence, which images.

        Raises:
            ValueError: examples that the probe does not have.
            BankError: the column is not there for every model, or a shard is refused.
        """
        shards = self._shards(str(columns.Column(probe, what, epoch)))
        return self._reader.read(shards, what, examples)

    def blocks(
        self, probe: str, what: str, epoch: int | None = None, *, memory: int = 2**28
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Read a column that is too large for memory, some examples of all models after others.

        Each time the slice of examples and their values, as `column` gives them. Estimates that
        look at one example at a time are the same for a block as within the whole:

            for examples, correct in bank.blocks("pool", "correct"):
                inside = bank.membership_of(examples)
                memorization[examples] = label_memorization(correct, inside).estimate

        So are `privacy_score`, `attack_success_rate`, and of `lira` the variants "paper/online" and
        "paper/offline" where each example has 4 IN and 4 OUT references; its other variants share a
        deviation, or a number of references, among all examples. ROC figures pool the scores of all
        examples: gather those of some targets, `lira(..., targets)` being [targets, examples], and
        take the figures of these.

        Args:
            probe: as for `column`.
            what: as for `column`.
            epoch: as for `column`.
            memory: bytes that a block's values take at most, or one example's where these are more.
                While a block is read its reader may still hold the one before.

        Raises:
            BankError: as `column`.
        """
        shape, size = shape_of(self._shards(str(columns.Column(probe, what, epoch))), what)
        count = shape[axis_of_examples(what)]
        step = max(1, memory * count // size)
        for first in range(0, count, step):
            examples = slice(first, min(first + step, count))
            yield examples, self.column(probe, what, epoch, examples)

    def __str__(self) -> str:
        """What the folder holds: models and bytes of each column, gaps, what is damaged."""
        return contents(self.folder, self.header)

    def header(self, column: str, first: int) -> Header:
        """What the header of a shard of this bank says, beside a digest."""
        execution = json.dumps(self.manifest["execution"], sort_keys=True)
        header = {"key": self.key, "execution": execution, "column": column, "first": str(first)}
        said = "." in column  # by the models, unlike membership and weights
        return {**header, "column semantics": str(columns.SEMANTICS)} if said else header

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[!.]*.safetensors"))

    def _models_with(self, column: str) -> int:
        block, count = self.design.block, 0
        while shard_path(self.folder, column, count, count + block).exists():
            count += block
        return count

    def _shards(self, column: str) -> Shards:
        if self.models == 0:
            raise BankError(f"bank {self.folder} holds no models yet: run train_shadows")
        shards = []
        for first in range(0, self.models, self.design.block):
            last = first + self.design.block
            path = shard_path(self.folder, column, first, last)
            if not path.exists():
                raise BankError(
                    f"bank {self.folder} has no column {column!r} for models {first} to {last - 1}"
                    f"; it has {', '.join(self.columns) or 'none'}: name it in "
                    "train_shadows(columns=...)"
                )
            shards.append((path, self.header(column, first)))
        return shards


def _key(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
