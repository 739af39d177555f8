#!/usr/bin/env bash
# The whole flow in curl. Limbeck runs (`make up`), and this is started in the same folder:
#   bash examples/curl.sh
set -euo pipefail
URL=${LIMBECK_URL:-http://127.0.0.1:8000}
KEY=${LIMBECK_ADMIN_KEY:-$(cat .limbeck/admin.key)}
AUTH="Authorization: Bearer $KEY"
NAME=curl-$(date +%s)

echo "1. a dataset with its recipe"
curl -sS --fail-with-body -H "$AUTH" -H 'Content-Type: application/json' "$URL/v1/datasets" \
  -d '{"name": "'"$NAME"'", "recipe": {"sampling": {"temperature": 0.7, "max_tokens": 512}}}'

echo; echo "2. seeds in, one JSON object a line; a repeat with the same key gives the same answer"
curl -sS --fail-with-body -H "$AUTH" -H 'Content-Type: application/x-ndjson' -H "Idempotency-Key: $NAME" \
  --data-binary @- "$URL/v1/datasets/$NAME/seeds" <<'SEEDS'
{"instruction": "Explain why the sky is blue, in two sentences."}
{"instruction": "Translate into German.", "input": "Good morning!", "output": "Guten Morgen!"}
{"instruction": "Name three uses of baking soda.", "metadata": {"topic": "household"}}
SEEDS

echo; echo "3. progress: one JSON object whose numbers add up"
until curl -sS --fail-with-body -H "$AUTH" "$URL/v1/datasets/$NAME" | grep -q '"state":"idle"'; do sleep 1; done
curl -sS --fail-with-body -H "$AUTH" "$URL/v1/datasets/$NAME"

echo; echo "4. what was rejected, and why"
curl -sS --fail-with-body -H "$AUTH" "$URL/v1/datasets/$NAME/samples?verdict=rejected"

echo; echo "5. what was accepted, as JSONL"
curl -sS --fail-with-body -H "$AUTH" -o "$NAME.jsonl" "$URL/v1/datasets/$NAME/export?format=alpaca"
wc -l "$NAME.jsonl"
