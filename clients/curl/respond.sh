#!/bin/sh
# One turn of a talk that the gateway keeps: respond.sh "My name is Ada."
# Prints the answer, and its id to go on from: JURAT_PREVIOUS=resp_… respond.sh "What is my name?"
# JURAT_MODEL names another model than rag-ensemble.
. "$(dirname "$0")/_common.sh"

[ $# -ge 1 ] || usage '"text"'
python3 -c '
import json, sys
model, previous, text = sys.argv[1:]
body = {"model": model, "input": text}
if previous:
    body["previous_response_id"] = previous
json.dump(body, sys.stdout)
' "${JURAT_MODEL:-rag-ensemble}" "${JURAT_PREVIOUS:-}" "$*" >"$work/body"
post /v1/responses
python3 -c '
import json, sys
answer = json.load(open(sys.argv[1], encoding="utf-8"))
for item in answer["output"]:
    for part in item["content"] if item["type"] == "message" else []:
        print(part.get("text") or part.get("refusal"))
        for one in part.get("annotations") or []:
            print("  cited: {} ({})".format(one["filename"], one["file_id"]))
print("JURAT_PREVIOUS=" + answer["id"])
' "$work/answer"
