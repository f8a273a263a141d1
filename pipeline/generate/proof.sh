# Asks the registry what each tag is, and fails where one is not what was just pushed. In the environment: TAGS (a line each), DIGEST.
set -eu
for tag in $TAGS; do
  # a format that begins with {{.Manifest prints the whole table (buildx 0.30)
  found=$(docker buildx imagetools inspect "$tag" --format '{{print .Manifest.Digest}}')
  if [ "$found" != "$DIGEST" ]; then
    echo "::error::$tag is $found, pushed was $DIGEST"
    exit 1
  fi
  echo "- \`$tag\` \`$found\`" >> "$GITHUB_STEP_SUMMARY"
done
