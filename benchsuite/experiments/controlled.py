"""What experiments have in common: controls, and computations that all arms share."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

T = TypeVar("T")


class Controlled:
    """A frozen dataclass's base: an experiment of which a control breaks one thing.

    Attributes:
        controls: what may be broken, by name.
        control: what is; "" for the experiment as it is.

    Raises:
        ValueError: an unknown control.
    """

    controls: ClassVar[Mapping[str, str]] = {}
    control: str

    def __post_init__(self) -> None:
        if self.control and self.control not in self.controls:
            raise ValueError(
                f"control={self.control!r} is unknown: use one of {', '.join(self.controls)}"
            )

    def under(self, control: str) -> Self:
        """The same experiment with one thing broken."""
        return replace(self, control=control)  # type: ignore[type-var]


class Remembering(Controlled):
    """One that keeps what it computed for its other arms.

    Attributes:
        cache: what was computed, by key; shared by all arms.
    """

    cache: dict[Any, Any]

    def once(self, key: Any, compute: Callable[[], T]) -> T:
        """What `compute` gives, computed once for all arms."""
        if key not in self.cache:
            self.cache[key] = compute()
        kept: T = self.cache[key]
        return kept
