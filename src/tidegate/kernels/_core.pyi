"""The compiled core, as `cpp/module.cpp` offers it."""

from typing import Any

class Tape:
    used: bool

class Adam:
    def __init__(
        self, weights: tuple[Any, ...], means: tuple[Any, ...], squares: tuple[Any, ...], steps: Any
    ) -> None: ...
    def step(self, grads: tuple[Any, ...], rates: Any, decay: float, clip: float, norms: Any) -> None: ...

class Live:
    padded: int
    def __init__(
        self, cell: str, layers: list[tuple[Any, ...]], scale: tuple[Any, ...], head: tuple[Any, ...]
    ) -> None: ...
    def bind(self, x: Any, state: Any, y: Any) -> None: ...
    def run(self) -> None: ...

class Learner:
    sizes: tuple[int, int, int, int, int, int]
    def __init__(
        self,
        cell: str,
        exact: bool,
        shape: tuple[int, int, int],
        kind: tuple[bool, bool, bool],
        pace: tuple[int, int, int],
        rates: tuple[float, float, float, float, float],
    ) -> None: ...
    def holds(self, memory: dict[str, Any]) -> bool: ...
    def bind(self, memory: tuple[Any, ...], x: Any, target: Any, out: Any) -> None: ...
    def step(self, told: bool, id: int, learn: bool) -> bool: ...
    def steps(self, x: Any, target: Any, out: Any, learn: bool) -> None: ...
    def late(self, ago: int) -> bool: ...

def linear(x: Any, w: Any, b: Any, y: Any) -> None: ...
def engines() -> list[str]: ...
def engine() -> str: ...
def use(name: str) -> str: ...
def forward(
    cell: str,
    x: Any,
    state: tuple[Any, ...],
    weights: tuple[Any, ...],
    lengths: Any,
    reverse: bool,
    y: Any,
    last: tuple[Any, ...],
    keep: bool,
    threads: int,
) -> Tape | None: ...
def backward(
    tape: Tape,
    x: Any,
    weights: tuple[Any, ...],
    dy: Any,
    dlast: tuple[Any, ...],
    dx: Any,
    dstate: tuple[Any, ...],
    dweights: tuple[Any, ...],
    threads: int,
) -> None: ...
def fan(
    cell: str,
    state: tuple[Any, ...],
    weights: tuple[Any, ...],
    each: Any,
    own: Any,
    drop: tuple[Any, ...],
    y: Any,
    threads: int,
) -> None: ...
def fan_back(
    cell: str,
    state: tuple[Any, ...],
    weights: tuple[Any, ...],
    each: Any,
    own: Any,
    drop: tuple[Any, ...],
    dy: Any,
    found: tuple[Any, ...],
    threads: int,
) -> None: ...
