# One index of what was built for each platform, under every tag at once. In the environment: IMAGE, DIGESTS and TAGS (a line each).
set -eu
set --
for tag in $TAGS; do first=${first-$tag} && set -- "$@" --tag "$tag"; done
for digest in $DIGESTS; do set -- "$@" "$IMAGE@$digest"; done
docker buildx imagetools create "$@"
echo "digest=$(docker buildx imagetools inspect "$first" --format '{{print .Manifest.Digest}}')" >> "$GITHUB_OUTPUT"
