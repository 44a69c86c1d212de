#!/bin/sh
# A question to the documents: ask.sh "How long do I hold the reset button of the R200?"
# Prints the answer, its sources and the votes. JURAT_ENSEMBLE names another ensemble than rag-ensemble.
. "$(dirname "$0")/_common.sh"

[ $# -ge 1 ] || usage '"question"'
chat_body "${JURAT_ENSEMBLE:-rag-ensemble}" "$*" false
post /v1/chat/completions
python3 -c "$show_ensemble"'
import json, sys
answer = json.load(open(sys.argv[1], encoding="utf-8"))
print(answer["choices"][0]["message"]["content"], end="")
show_ensemble(answer["ensemble"])
' "$work/answer"
