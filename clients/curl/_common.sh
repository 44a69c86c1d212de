# Sourced by the scripts beside this file; POSIX sh, with curl and python3 (no jq).
#
#   JURAT_URL      the gateway, without /v1; default http://127.0.0.1:8000
#   JURAT_API_KEY  the key, when the gateway asks for one
# shellcheck shell=sh

set -eu

JURAT_URL=${JURAT_URL:-http://127.0.0.1:8000}
JURAT_URL=${JURAT_URL%/}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The key goes to curl in a file, since arguments can be read by every user of the machine.
: >"$work/headers"
if [ -n "${JURAT_API_KEY:-}" ]; then
    printf 'Authorization: Bearer %s\n' "$JURAT_API_KEY" >"$work/headers"
fi

usage() {
    printf 'usage: %s %s\n' "$(basename "$0")" "$1" >&2
    exit 2
}

# send CURL_ARGUMENT...: leaves the body in $work/answer; anything but 2xx is printed and ends the script.
send() {
    status=$(curl -sS --connect-timeout 5 -H "@$work/headers" -o "$work/answer" -w '%{http_code}' "$@") || exit 1
    case $status in
    2??) ;;
    *)
        printf 'HTTP %s\n' "$status" >&2
        [ ! -s "$work/answer" ] || show_json "$work/answer" >&2
        exit 1
        ;;
    esac
}

get() {
    send "$JURAT_URL$1"
}

# post PATH: sends $work/body.
post() {
    send -H 'Content-Type: application/json' --data-binary "@$work/body" "$JURAT_URL$1"
}

# show_json FILE: indented, or as it is where it is no JSON.
show_json() {
    python3 -c '
import json, sys
text = open(sys.argv[1], encoding="utf-8", errors="replace").read()
try:
    text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
except ValueError:
    pass
print(text)
' "$1"
}

# chat_body MODEL PROMPT STREAM(true|false): writes $work/body.
chat_body() {
    python3 -c '
import json, sys
model, prompt, stream = sys.argv[1:]
body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
if stream == "true":
    body["stream"] = True
json.dump(body, sys.stdout)
' "$1" "$2" "$3" >"$work/body"
}

# What both forms of an ensemble answer end with: the extension object `ensemble` as text.
show_ensemble='
def show_ensemble(ensemble):
    print("\n\nSources")
    for source in ensemble.get("sources") or []:
        page = source.get("page")
        place = source["filename"] + (f", page {page}" if page is not None else "")
        text = " ".join(source["text"].split())
        print("  [{}] {} (score {:.3f})".format(source["n"], place, source["score"]))
        print("      " + (text if len(text) <= 160 else text[:157] + "..."))
    if not ensemble.get("sources"):
        print("  none")
    print("\nVotes")
    for vote in ensemble.get("votes") or []:
        if vote.get("error"):
            said = "failed: {}".format(vote["error"])
        elif vote.get("stopped"):
            said = "not needed"
        elif vote.get("is_blank"):
            said = "not in the documents"
        else:
            said = " ".join(str(part) for part in (vote["answer_value"], vote.get("answer_unit")) if part)
            said += " from " + ", ".join(vote["ref_id"]) if vote.get("ref_id") else ""
            said += "" if vote.get("grounded") else " (not grounded)"
        print("  {}: {}, weight {}, {} ms".format(vote["model"], said, vote["weight"], round(vote["latency_ms"] or 0)))
    print("\n{}, {}: agreement {}, confidence {}".format(
        ensemble["strategy"], ensemble["execution"], ensemble["agreement"], ensemble["confidence"]))
'

# stream_chat: posts $work/body and prints the text as it arrives; reasoning goes to stderr.
# A pipe has the exit status of its last command, so the reader below also tells whether the request failed:
# an error body is not an event stream, and a stream that is complete ends with [DONE].
stream_chat() {
    curl -sS -N --connect-timeout 5 -H "@$work/headers" -H 'Content-Type: application/json' \
        --data-binary "@$work/body" "$JURAT_URL/v1/chat/completions" | python3 -c "$show_ensemble"'
import json, sys

def fail(message):
    sys.exit(message if isinstance(message, str) else json.dumps(message, indent=2, ensure_ascii=False))

other, ensemble, done = [], None, False
for raw in sys.stdin.buffer:
    line = raw.decode("utf-8", "replace").rstrip("\r\n")
    if not line.startswith("data:"):
        if line and not line.startswith((":", "event:", "id:", "retry:")):
            other.append(line)
        continue
    payload = line[len("data:"):].strip()
    if payload == "[DONE]":
        done = True
        break
    chunk = json.loads(payload)
    if "error" in chunk:
        print(flush=True)
        fail({"error": chunk["error"]})
    ensemble = chunk.get("ensemble") or ensemble
    for choice in chunk.get("choices") or []:
        delta = choice.get("delta") or {}
        if delta.get("reasoning_content"):
            print(delta["reasoning_content"], end="", file=sys.stderr, flush=True)
        if delta.get("content"):
            print(delta["content"], end="", flush=True)
if other:
    text = "\n".join(other)
    try:
        fail(json.loads(text))
    except ValueError:
        fail(text)
if not done:
    fail("the answer did not end: no [DONE]")
if ensemble:
    show_ensemble(ensemble)
else:
    print()
'
}
