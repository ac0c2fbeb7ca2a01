#!/bin/sh
# Four pictures of a report's page: phone and desk, light and dark.
# usage: docs/pictures.sh page.html folder [height in pixels, default 1600]; needs chromium
set -eu
page=$(realpath "$1")
folder=$2
height=${3:-1600}
mkdir -p "$folder"
for device in phone:390 desk:1280; do
    for theme in dark:0 light:1; do
        profile=$(mktemp -d)
        chromium --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
            --disable-background-networking --disable-component-update --disable-sync \
            --user-data-dir="$profile" --window-size="${device#*:},$height" \
            --blink-settings=preferredColorScheme="${theme#*:}" \
            --screenshot="$folder/${device%:*}-${theme%:*}.png" "file://$page" 2>/dev/null
        rm -rf "$profile"
    done
done
