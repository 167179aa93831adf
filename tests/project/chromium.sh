#!/usr/bin/env bash
# Tests marked `browser` drive Debian's Chromium. Installs it where that is allowed; elsewhere prints which
# tests are skipped and why (make test shows this at its end). Under CI=true a missing browser is a failure.
set -u
cd "$(dirname "$0")/../.." || exit 1
tests=$(grep -rl --include='test_*.py' 'pytest\.mark\.browser' tests) || exit 0
command -v chromium >/dev/null && exit 0

if ! command -v apt-get >/dev/null; then why="this system has no apt-get"
elif [ "$(id -u)" = 0 ]; then as_root=()
elif sudo -n true 2>/dev/null; then as_root=(sudo -n)
else why="neither root nor sudo without a password"
fi
if [ -z "${why:-}" ]; then
    echo "== installing Debian's Chromium for the browser tests" >&2
    log=$(mktemp)
    { "${as_root[@]}" apt-get -qq update &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium
    } >"$log" 2>&1 && exit 0
    tail -n 5 "$log" >&2
    why="apt-get could not install it"
fi
if [ "${CI:-}" = true ]; then echo "the browser tests need Chromium: $why" >&2; exit 1; fi
echo "skipped: the browser tests in" $tests "(Chromium is missing: $why)"
