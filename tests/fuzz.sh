#!/bin/sh
# Sends requests that the API's document allows or forbids (schemathesis), as a company's admin, to a server with demo
# data. Run by `make fuzz`, which gives it a throw-away PostgreSQL. $1 program; the rest is for schemathesis.
set -eu
program=$1
shift
folder=$(mktemp -d)
address=127.0.0.1:${FUZZ_PORT:-8099}
export RINGFENCE_DEVELOPMENT=true RINGFENCE_RATE_LIMITS=off RUST_LOG=error RINGFENCE_STORAGE_URL="file://$folder"
"$program" demo >/dev/null
"$program" --listen "$address" >"$folder/server.log" 2>&1 &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
  curl -sf "http://$address/readyz" >/dev/null && break
  sleep 0.2
done
token=$(curl -sf "http://$address/api/auth/login" -H 'content-type: application/json' \
  -d '{"email": "olivia@harborvale.example", "password": "Demo-Ring-2026"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
schemathesis --config-file tests/schemathesis.toml run "http://$address/openapi.json" -H "Authorization: Bearer $token" \
  --continue-on-failure "$@" || { cat "$folder/server.log"; exit 1; }
! grep -i panicked "$folder/server.log"
