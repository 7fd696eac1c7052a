# The page that is served from now on. $text is given with the action; nothing else is needed from outside.
set -eu
printf '%s\n' "$text" > /www/index.html
