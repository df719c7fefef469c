"""A predictor node: a performer whose problems are answered as the rig answers."""

from collections.abc import Sequence

from neurig import ModelError
from neurig.interaction import performer
from neurig.rig.errors import RigError


class Performer(performer.Performer):
    """One predictor node."""

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
