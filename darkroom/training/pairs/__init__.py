"""Training published networks, and safelight, on pairs of exposures: by their papers' recipes."""
