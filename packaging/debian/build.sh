#!/bin/sh
# Build the Debian package from this checkout into the folder given (default: dist/).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(mkdir -p "${1:-$root/dist}" && cd "${1:-$root/dist}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/mlxk"
(cd "$root" && git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - --ignore-failed-read) | tar -xf - -C "$work/mlxk"
cp -r "$root/packaging/debian" "$work/mlxk/debian"
(cd "$work/mlxk" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps)
mv "$work"/*.deb "$out/"
ls "$out"/*.deb
