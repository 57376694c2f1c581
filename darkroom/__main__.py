"""`python -m darkroom`, and the command `darkroom`."""


def main() -> None:
    """Run the command line; what stops it while it is still being loaded is one line, too."""
    try:
        from darkroom import cli
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ImportError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SystemExit(f"error: darkroom cannot be loaded: {reason}; raise the limits") from None
    cli.main()


if __name__ == "__main__":
    main()
