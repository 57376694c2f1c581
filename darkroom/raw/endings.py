"""What cameras call their RAW files."""

RAW_ENDINGS = (
    *(".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".cs1", ".dcr", ".dcs", ".dng"),
    *(".drf", ".eip", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kc2", ".kdc", ".mdc", ".mef"),
    *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".ptx", ".pxn", ".raf", ".raw"),
    *(".rw2", ".rwl", ".rwz", ".sr2", ".srf", ".srw", ".sti", ".x3f"),
)
"""Endings of cameras' RAW files. Source: LibRaw's list of supported cameras, by maker."""
COMPANION_ENDINGS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe"), "JPEG"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    ".xmp": "XMP sidecar",
    **dict.fromkeys((".pp3", ".dop", ".on1", ".cos", ".thm"), "other sidecar"),
}
"""Endings of files that lie beside a RAW photo and belong to it, and what to call one.

Made by the camera (JPEG, HEIF, THM) or by Adobe's programs and darktable (XMP), RawTherapee (PP3),
DxO PhotoLab (DOP), ON1 and Capture One (COS).
"""
