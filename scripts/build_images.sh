#!/usr/bin/env bash
# Build the container images with buildah, podman or docker: docs/images.md.
#
#   scripts/build_images.sh [--push] REGISTRY [IMAGE ...]
#
# Environment: BUILDER (podman; buildah and docker work too), BASE_IMAGE, UV_IMAGE, TORCH_INDEX (the
# defaults stand in the Containerfiles), UV_TOML (a file with the package mirror's address),
# BUILD_ARGS (more arguments for the builder), SOURCE (the code's address, for the label).
set -euo pipefail
cd "$(dirname "$0")/.."

push=
if [ "${1:-}" = --push ]; then
  push=yes
  shift
fi
if [ $# -lt 1 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
registry=${1%/}
shift
images=("$@")
[ ${#images[@]} -gt 0 ] || images=(orchestrator evaluator trainer-cpu trainer)

builder=${BUILDER:-podman}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# Without the user and password that an address may hold: a label is public.
source=${SOURCE:-$(git config --get remote.origin.url | sed 's#//[^@/]*@#//#' || true)}
revision=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || revision="$revision-dirty"

for image in "${images[@]}"; do
  tag="$registry/ft-assets-$image:$version"
  arguments=(
    --build-arg "VERSION=$version"
    --build-arg "REVISION=$revision"
    --build-arg "CREATED=$(git log -1 --format=%cI)"
    --build-arg "SOURCE=${source:-unknown}"
  )
  for name in BASE_IMAGE UV_IMAGE TORCH_INDEX; do
    [ -z "${!name+set}" ] || arguments+=(--build-arg "$name=${!name}")
  done
  [ -z "${UV_TOML:-}" ] || arguments+=(--secret "id=uv.toml,src=$UV_TOML")
  # Layers are kept, so that the images share them; podman and docker do so without being asked.
  [ "$builder" != buildah ] || arguments+=(--layers)
  # shellcheck disable=SC2086 # several arguments in one variable
  "$builder" build "${arguments[@]}" ${BUILD_ARGS:-} --file "images/$image/Containerfile" --tag "$tag" .
  [ -z "$push" ] || "$builder" push "$tag"
done
