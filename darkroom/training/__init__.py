"""Training: safelight on clean photographs, networks on pairs, the rule that finds the gain."""
