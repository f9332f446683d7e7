#!/usr/bin/env bash
# Builds the last stage of deploy/Dockerfile with buildah around a binary that is there already, into an OCI bundle.
#
#   assemble.sh FOLDER      FOLDER/outboxd is the binary; makes FOLDER/bundle/rootfs and FOLDER/image.json
#
# The base image cannot be fetched without a registry: in its place stands an empty one with an unprivileged account
# and, if the binary is no static one, its libraries. Compiling, which the stages before do, is not part of this.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
folder=$1
cd "$folder"
builder() { buildah --root "$folder/store" --runroot "$folder/run" --storage-driver vfs "$@"; }

mkdir -p base/etc context/out context/build bundle/rootfs
printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nonroot:x:65532:65532::/nonexistent:/sbin/nologin >base/etc/passwd
printf 'root:x:0:\nnonroot:x:65532:\n' >base/etc/group
if ldd outboxd >libraries 2>/dev/null; then
  sed -nE 's#^.* (/[^ ]+) \(.*#\1#p; s#^\s(/[^ ]+) \(.*#\1#p' libraries | sort -u | while read -r library; do
    install -D -m 755 "$library" "base$library"
  done
fi
cp outboxd context/out/
cp "$repository/LICENSE-APACHE" "$repository/LICENSE-MIT" context/build/

name=$(sed -n 's/^ARG BASE_IMAGE=//p' "$repository/deploy/Dockerfile")
printf 'FROM scratch\nCOPY . /\n' >base.Dockerfile
builder bud --quiet --isolation chroot --tag "$name" --file base.Dockerfile base

# The arguments before the first stage, then everything from the last FROM on.
awk '/^FROM /{ n = 1; stage = "" } !n && /^ARG /{ print } n { stage = stage $0 "\n" } END { printf "%s", stage }' \
  "$repository/deploy/Dockerfile" >last.Dockerfile
builder bud --quiet --isolation chroot --pull-never --format docker --build-context "builder=$folder/context" \
  --build-arg VERSION=9.9.9 --build-arg OUTBOXD_REVISION=checked --tag outboxd:check --file last.Dockerfile context
builder inspect --type image outboxd:check >image.json
container=$(builder from --pull-never outboxd:check)
cp -a "$(builder mount "$container")/." bundle/rootfs/
rm -rf store run base context
