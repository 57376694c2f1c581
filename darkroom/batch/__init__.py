"""Many photos: resumable, each failure costs one photo."""
