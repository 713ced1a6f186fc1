"""The calls of models that a server told its listeners of."""

from collections.abc import Sequence
from typing import Any, overload

from proxy.streaming.completions import Completed, Completions


class HeardCalls(Sequence[Completed]):
    """Every call that has ended by now; nothing is waited for."""

    def __init__(self, completions: Completions) -> None:
        self._completions = completions
        self._heard: list[Completed] = []
        completions.listeners.append(self._heard.append)

    @overload
    def __getitem__(self, at: int) -> Completed: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Completed]: ...
    def __getitem__(self, at: Any) -> Any:
        self._completions.tell()
        return self._heard[at]

    def __len__(self) -> int:
        self._completions.tell()
        return len(self._heard)
