"""What dark and flat frames tell of a camera: its profile, and what it does to a photo."""
