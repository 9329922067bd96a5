#!/usr/bin/env bash
# Installs what eq_tvm and its tests need: Debian or Ubuntu packages, and Python packages into .venv in this folder.
# What is there already stays as it is, so running it again is quick. Where no package is missing, it needs no root.
set -euo pipefail
cd "$(dirname "$0")"

# link for this machine, link for 64-bit and 32-bit ARM, run ARM code in tests
packages=(g++ g++-aarch64-linux-gnu g++-arm-linux-gnueabihf qemu-user)
# In CI also what else tests use: build as users of a standalone library do, a board to log in to, Android's linker
[[ ${CI:-false} == false ]] || packages+=(cmake pkg-config openssh-client openssh-server clang lld)
python3 -c "import ensurepip, venv" 2> /dev/null || packages+=(python3-venv)

missing=()
for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
    root=(env DEBIAN_FRONTEND=noninteractive)
    ((EUID == 0)) || root=(sudo "${root[@]}")
    "${root[@]}" apt-get update -q
    "${root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

if [[ ! .venv/installed -nt pyproject.toml ]]; then
    python3 -m venv .venv
    .venv/bin/python -m pip install -q -e ".[test]"
    touch .venv/installed
fi
echo "ready: . .venv/bin/activate"
