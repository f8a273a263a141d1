# Asks the registry what each tag is, and fails where one is not what was just pushed. In the environment: TAGS (a line each), DIGEST.
set -eu
for tag in $TAGS; do
  found=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
  if [ "$found" != "$DIGEST" ]; then
    echo "::error::$tag is $found, pushed was $DIGEST"
    exit 1
  fi
  echo "- \`$tag\` \`$found\`" >> "$GITHUB_STEP_SUMMARY"
done
