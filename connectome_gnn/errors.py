"""The errors and warnings that a user can meet, each a sentence."""

from __future__ import annotations

__all__ = ["ConnectomeError", "ConnectomeWarning", "ExtrapolationWarning", "PhenotypeWarning", "PrivacyWarning"]


class ConnectomeError(ValueError):
    """Input that cannot be used: what was expected, what came, where, and what to do."""


class ConnectomeWarning(UserWarning):
    """Input that can be used, with something the user should know."""


class PhenotypeWarning(ConnectomeWarning):
    """A phenotype that carries little: constant, mostly missing, or a level never seen in training."""


class ExtrapolationWarning(ConnectomeWarning):
    """Profiles outside what the model has seen in training."""


class PrivacyWarning(ConnectomeWarning):
    """A promise of privacy that holds for less than the user may think."""
