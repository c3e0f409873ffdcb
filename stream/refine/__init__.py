"""Online refinement: models that learn on from what they see, and the gate they pass."""
