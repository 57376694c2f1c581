"""The page of every command's options, darkroom/cli/README.md, is what the commands say now."""

from reference import PAGE, reference


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python tests/reference.py"
