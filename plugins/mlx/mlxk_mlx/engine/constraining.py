"""Masks of one row: only the tokens that its constraint allows can be drawn."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlxk_core.api.errors import ConstraintFailure
from mlxk_core.api.generation import TokenConstraint


class PassDispatch:
    """Starts the network's pass of a step, which its rows share: one evaluation for each row would cost more."""

    def __init__(self) -> None:
        self._dispatched = False

    def new_step(self) -> None:
        self._dispatched = False

    def start(self, logits: mx.array) -> None:
        """Start the pass that `logits` come from, unless this step has."""
        if not self._dispatched:
            self._dispatched = True
            mx.async_eval(logits)


class ConstraintProcessor:
    """The logits processor that keeps one row to `constraint`.

    mlx-lm calls it once before each token, with the token drawn before as the end of the context, while the network's
    pass is not started yet: the pass is dispatched first, and the mask is computed meanwhile.
    """

    def __init__(self, constraint: TokenConstraint, dispatch: PassDispatch) -> None:
        self._constraint = constraint
        self._dispatch = dispatch
        self._began = False
        self.complete = False
        """Nothing can follow the token that the context ends with."""

    def __call__(self, context: mx.array, logits: mx.array) -> mx.array:
        self._dispatch.start(logits)
        if self._began:
            self._constraint.accept(int(context[-1].item()))
            if self._constraint.complete:
                self.complete = True
                return logits
        self._began = True
        mask = self._constraint.mask()
        if mask is None:
            return logits
        size = logits.shape[-1]
        allowed = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little", count=size).view(np.bool_)
        if not allowed.any():
            raise ConstraintFailure("The constraint allows text that the tokens of this model cannot write.")
        return mx.where(mx.array(allowed), logits, -mx.inf)
