#!/bin/sh
# Four pictures of a page: phone and desk, light and dark.
# usage: docs/pictures.sh page.html folder [height in pixels, default 1600 [beginning of the names]]
# needs chromium; the page is a report, or one of the site that `make docs` builds:
#   docs/pictures.sh site/index.html docs/pictures 1100 start-
set -eu
page=$(realpath "$1")
folder=$2
height=${3:-1600}
names=${4:-}
mkdir -p "$folder"
for device in phone:390 desk:1280; do
    for theme in dark:0 light:1; do
        profile=$(mktemp -d)
        chromium --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
            --disable-background-networking --disable-component-update --disable-sync \
            --allow-file-access-from-files \
            --user-data-dir="$profile" --window-size="${device#*:},$height" \
            --blink-settings=preferredColorScheme="${theme#*:}" \
            --screenshot="$folder/$names${device%:*}-${theme%:*}.png" "file://$page" 2>/dev/null
        rm -rf "$profile"
    done
done
