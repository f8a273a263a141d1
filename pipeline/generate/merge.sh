# One index of what was built for each platform, under every tag at once. In the environment: IMAGE, DIGESTS and TAGS (a line each).
set -eu
set --
for tag in $TAGS; do set -- "$@" --tag "$tag"; done
for digest in $DIGESTS; do set -- "$@" "$IMAGE@$digest"; done
docker buildx imagetools create "$@"
first=${TAGS%%[!A-Za-z0-9._:/-]*}
echo "digest=$(docker buildx imagetools inspect "$first" --format '{{.Manifest.Digest}}')" >> "$GITHUB_OUTPUT"
