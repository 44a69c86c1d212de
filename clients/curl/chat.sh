#!/bin/sh
# One answer of one model: chat.sh "Why is the sky blue?"
# JURAT_MODEL names another model than smollm2-135m.
. "$(dirname "$0")/_common.sh"

[ $# -ge 1 ] || usage '"prompt"'
chat_body "${JURAT_MODEL:-smollm2-135m}" "$*" false
post /v1/chat/completions
python3 -c '
import json, sys
print(json.load(open(sys.argv[1], encoding="utf-8"))["choices"][0]["message"]["content"])
' "$work/answer"
