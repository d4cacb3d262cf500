#!/bin/sh
# The Stripe sandbox, where no other Stripe is given; with one this ends at once, in order.
set -eu
: "${MARKETFLOW_SECRETS_DIR:=/run/marketflow}"

case "$MARKETFLOW_STRIPE_API_BASE" in
    http://sandbox:*) ;;
    *) echo "Stripe is $MARKETFLOW_STRIPE_API_BASE: no sandbox is wanted."; exit 0 ;;
esac
# Everybody can read a command line; the secrets come as variables.
secrets="$MARKETFLOW_SECRETS_DIR/marketflow_stripe_webhook_secrets"
MARKETFLOW_SANDBOX_WEBHOOK_SECRET="$(cut -d, -f1 "$secrets")"
MARKETFLOW_SANDBOX_CONNECT_WEBHOOK_SECRET="$(cut -d, -f2 "$secrets")"
export MARKETFLOW_SANDBOX_WEBHOOK_SECRET MARKETFLOW_SANDBOX_CONNECT_WEBHOOK_SECRET
exec python -m ops.stripe_sandbox "$@"
