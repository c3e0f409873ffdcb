from offramp.api import features as features
from offramp.api import replay as replay
from offramp.decision.client import DecisionClient as DecisionClient

__all__ = ["DecisionClient", "features", "replay"]
