"""Networks ready to run, and how they are run on a photo."""
