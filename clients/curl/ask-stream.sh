#!/bin/sh
# The same as ask.sh, streamed: the deliberation goes to stderr, then the answer, its sources and the votes.
. "$(dirname "$0")/_common.sh"

[ $# -ge 1 ] || usage '"question"'
chat_body "${JURAT_ENSEMBLE:-rag-ensemble}" "$*" true
stream_chat
