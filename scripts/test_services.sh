#!/usr/bin/env bash
# Sees to the programs that the tests run beside PostgreSQL itself, which comes with the extra `dev` where the system has none.
# Installs what is missing where it can: as root, with apt-get. Elsewhere it says what is missing, and which tests will be skipped.
set -euo pipefail
# Where Debian has programs that are not for every user.
PATH=$PATH:/usr/sbin:/sbin

# program, package, what needs it
NEEDED=(
    "pgbouncer pgbouncer the tests behind a pooler"
    "ip iproute2 the tests with workers in networks of their own"
    "nft nftables the tests with workers that are cut off"
    "chromium chromium the tests of pages in a browser"
)

missing() {
    for line in "${NEEDED[@]}"; do
        read -r program package purpose <<< "$line"
        command -v "$program" > /dev/null || echo "$program $package $purpose"
    done
}

if [ -n "$(missing)" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    # A service that a package would start is not wanted: the tests start their own.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update --quiet=2
    missing | cut -d ' ' -f 2 | xargs apt-get install --quiet=2 --yes --no-install-recommends
fi

missing | while read -r program package purpose; do
    echo "there is no $program here, which is in Debian's package $package: $purpose are skipped, and fail on CI" >&2
done
