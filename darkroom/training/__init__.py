"""Training safelight: clean photographs behind simulated sensors."""
