#!/bin/sh
# Puts a headless browser in place for tests/test_report.py: Debian's chromium, by apt-get, only when none is there.
# Exit 0: a browser is there. Exit 1: none, and the reason on stderr (the browser tests then skip, or fail under CI=true).
set -eu

say() { echo "chromium.sh: $*" >&2; }

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then
        say "found $(command -v "$name")"
        exit 0
    fi
done

if ! command -v apt-get >/dev/null 2>&1; then
    say "no browser and no apt-get here: install chromium or chrome yourself"
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    say "no browser, and no right to install one: run 'apt-get install chromium' as root"
    exit 1
fi

install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        chromium fonts-dejavu-core >/dev/null
}

say "installing Debian's chromium (about 100 MB to fetch)"
if install 2>/dev/null || { $as_root apt-get update >/dev/null && install; }; then
    say "installed $(command -v chromium)"
else
    say "apt-get could not install chromium: is this machine online?"
    exit 1
fi
