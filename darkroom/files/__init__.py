"""Camera files in, picture files out."""
