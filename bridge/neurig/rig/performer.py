"""A predictor node: a performer whose problems are answered as the rig answers."""

from collections.abc import Callable, Sequence
from typing import Any

from neurig import ModelError
from neurig.interaction import performer
from neurig.rig.errors import RigError
from neurig.session import Event


class Performer(performer.Performer):
    """One predictor node."""

    def __init__(self, values: dict[str, Any], play: Callable[[Event], None], taken_over: Callable[[], None]) -> None:
        """:param taken_over: is called where the player, in call and response, plays again"""
        super().__init__(values, play)
        self._taken_over = taken_over

    async def load(self, path: str, dimension: int | None = None) -> None:
        """:raises RigError: where the model cannot be used; the one before goes on"""
        try:
            await super().load(path, dimension)
        except (ModelError, OSError) as problem:
            raise RigError("bad_file", str(problem)) from None
        except performer.Overtaken as problem:
            raise RigError("failed", str(problem)) from None

    def input(self, values: Sequence[float]) -> None:
        """:raises RigError: where there is no model, or the frame does not fit it"""
        if not self.dimension:
            raise RigError("unavailable", "this predictor has no model yet")
        try:
            super().input(values)
        except ValueError as problem:
            raise RigError("bad_value", str(problem)) from None
        if self._values["mode"] == "callresponse":
            self._taken_over()
