"""What a shell offers for options: the words that they take, and the names of weights.

`darkroom --install-completion` sets it up. No command's own code is loaded for it.
"""

import re
from collections.abc import Callable
from inspect import signature

from typer.models import ParameterInfo


def add_completion(command: Callable[..., None]) -> Callable[..., None]:
    """Let shells complete a command's options: by their metavar, as repair|keep, and models.

    The words are those in small letters; FILE, NAME and N stand for what is free.
    """
    for parameter in signature(command).parameters.values():
        for info in getattr(parameter.annotation, "__metadata__", ()):
            if not isinstance(info, ParameterInfo) or info.autocompletion is not None:
                continue
            metavar = info.metavar or ""
            if "NAME|FILE" in metavar or metavar == "MODEL":
                info.autocompletion = list_models
            elif metavar == "RULE":
                info.autocompletion = list_rules
            elif "|" in metavar:
                info.autocompletion = _offer(_find_words(metavar))
    return command


def _find_words(metavar: str) -> list[str]:
    """Return the words that an option takes, of cuda[:N] cuda: in small letters, or filters."""
    words = re.sub(r"\[.*?\]", "", metavar).split("|")
    return [word for word in words if word == word.lower() or set(word) <= set("RGB")]


def _offer(words: list[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def list_models(incomplete: str) -> list[tuple[str, str]]:
    """Return the weights whose names begin so, those that are installed first, and where they are.

    Nothing where a file's path is begun, which the shell completes.
    """
    from darkroom.weights import registry, store

    ready = (store.State.BUNDLED, store.State.INSTALLED)
    states = {
        name: store.state(entry)
        for name, entry in registry.ENTRIES.items()
        if name.startswith(incomplete)
    }
    ordered = sorted(states, key=lambda name: (states[name] not in ready, name))
    return [(name, states[name].value) for name in ordered]


def list_rules(incomplete: str) -> list[str]:
    """Return the rules of the gain that begin so."""
    from darkroom.gain import GainRule

    return [rule.value for rule in GainRule if rule.value.startswith(incomplete)]
