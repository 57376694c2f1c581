"""Camera RGB to sRGB."""
