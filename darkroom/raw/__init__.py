"""Camera files in: whatever LibRaw decodes becomes a RawImage."""
