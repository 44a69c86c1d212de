#!/bin/sh
# The same as chat.sh, printed while it is written.
. "$(dirname "$0")/_common.sh"

[ $# -ge 1 ] || usage '"prompt"'
chat_body "${JURAT_MODEL:-smollm2-135m}" "$*" true
stream_chat
