#!/bin/sh -e
# A web server that says who it is.
mkdir -p /www
echo "{{ greeting | default('Hello') }} from $(hostname)." >/www/index.html
httpd -p 80 -h /www
