#!/bin/sh
# Usage: compile.sh SOURCE_FOLDER PROGRAM    The one place that knows how the probe is compiled: the image and the tests both ask here.
# No build id and no debug information, so that the same source gives the same bytes.
set -eu
exec gcc -std=c11 -O2 -Wall -Wextra -Werror -pthread -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -pie -s \
  -Wl,--build-id=none -Wl,-z,relro,-z,now -o "$2" "$1/server.c" "$1/database.c"
