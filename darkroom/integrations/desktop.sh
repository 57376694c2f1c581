#!/bin/sh
# Enhance the selected RAW photos with darkroom, from a file manager: a script of Nautilus, Nemo or
# Caja, or a Quick Action of Finder. Each picture lies beside its photo, as PHOTO-darkroom.jpg.
# DARKROOM names the program where it is not found, DARKROOM_OPTIONS has further options.
# Install it for Nautilus, once:
#   ln -s "$(darkroom integrations nautilus)" \
#       "$HOME/.local/share/nautilus/scripts/Enhance with darkroom"
# For Finder, in Automator: New, Quick Action, for files in Finder; Run Shell Script, its input as
# arguments; the script: exec "THIS FILE" "$@". MIT licence, as the rest of darkroom.
set -u

here=$(dirname -- "$(readlink -f -- "$0")")

find_program() {
    for one in "${DARKROOM:-}" "$here/../../../../../bin/darkroom" "$(command -v darkroom)" \
        "$HOME/.local/bin/darkroom" /opt/homebrew/bin/darkroom /usr/local/bin/darkroom; do
        if [ -x "$one" ]; then
            printf '%s\n' "$one"
            return
        fi
    done
    printf 'darkroom\n'
}

tell() {
    if command -v notify-send > /dev/null; then
        notify-send --app-name=darkroom darkroom "$1"
    elif command -v osascript > /dev/null; then
        osascript -e 'on run words' -e 'display notification (item 1 of words) with title "darkroom"' \
            -e 'end run' "$1"
    else
        printf '%s\n' "$1" >&2
    fi
}

if [ $# -eq 0 ]; then # where no arguments come, whole paths do, a line each
    paths=${NAUTILUS_SCRIPT_SELECTED_FILE_PATHS:-${NEMO_SCRIPT_SELECTED_FILE_PATHS:-${CAJA_SCRIPT_SELECTED_FILE_PATHS:-}}}
    IFS='
'
    set -f
    # shellcheck disable=SC2086 # to be split
    set -- $paths
    set +f
    unset IFS
fi
if [ $# -eq 0 ]; then
    tell "select at least one RAW photo"
    exit 2
fi

program=$(find_program)
done=0
failed=0
for photo in "$@"; do
    case $photo in -*) photo=./$photo ;; esac # Nautilus names photos as they lie in its folder
    name=${photo##*/}
    # shellcheck disable=SC2086 # options are words
    if said=$("$program" enhance "$photo" -o "${photo%"$name"}${name%.*}-darkroom.jpg" --quiet \
        ${DARKROOM_OPTIONS:-} 2>&1); then
        done=$((done + 1))
    else
        failed=1
        tell "$name: $(printf '%s\n' "$said" | tail -n 1)"
    fi
done
tell "$done of $# photos enhanced"
exit $failed
