#!/bin/sh
# Runs once, in an empty cluster: the owner of the database, and the application's role, which owns nothing.
set -eu
: "${SECRETS:=/run/marketflow-owner}"
export SECRETS
test -s "$SECRETS/owner_password" -a -s "$SECRETS/application_password"

# psql reads the passwords by itself: everybody can read a command line, from outside the container too.
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\set owner_password `cat "$SECRETS/owner_password"`
\set application_password `cat "$SECRETS/application_password"`
SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['marketflow_owner', 'marketflow_app']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE marketflow_owner PASSWORD :'owner_password';
ALTER ROLE marketflow_app PASSWORD :'application_password';
SELECT 'CREATE DATABASE marketflow OWNER marketflow_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'marketflow') \gexec
SQL
