"""Work on photosites: packing, demosaicing, defects, noise."""
