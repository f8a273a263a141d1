#!/bin/bash
# The blueprint's own commands, as somebody without this project would put them in a script: the thing to be faster than.
# Everything comes in by environment: SSH (argv of ssh), HOST, DIR, REGISTRY, REPOSITORY, REGISTRY_USER, REGISTRY_PASSWORD, TAG,
# HELM, KUBECONFIG, NAMESPACE, RELEASE, PUBLIC, INGRESS, VALUES.
set -euo pipefail

rsync --archive --compress --delete --exclude .git --exclude .pipeline -e "$SSH" ./ "$HOST:$DIR/"
$SSH "$HOST" "cd $DIR && nix --extra-experimental-features 'nix-command flakes' build path:.#docker"
token=$(curl --silent --fail --user "$REGISTRY_USER:$REGISTRY_PASSWORD" \
  "http://$REGISTRY/v2/token?service=container_registry&scope=repository:$REPOSITORY:push,pull" | sed 's/.*"token":"\([^"]*\)".*/\1/')
$SSH "$HOST" "cd $DIR && skopeo copy --quiet --insecure-policy --dest-tls-verify=false --dest-registry-token $token \
  docker-archive:result docker://$REGISTRY/$REPOSITORY:$TAG --digestfile digest"
digest=$($SSH "$HOST" "cat $DIR/digest")
"$HELM" upgrade --install "$RELEASE" ./chart --namespace "$NAMESPACE" --values "$VALUES" --set-string "image.digest=$digest" \
  --set-string "image.repository=$REGISTRY/$REPOSITORY" --set-string "commit=$TAG" --wait --timeout 120s > /dev/null
curl --silent --fail --retry 20 --retry-delay 1 --retry-all-errors --header "Host: $PUBLIC" "$INGRESS/healthz" > /dev/null
