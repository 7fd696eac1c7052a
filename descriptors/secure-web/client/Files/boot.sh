#!/bin/sh -e
# The client. What it needs (wget, nc, ping) is in the image. Something listens on port 9999, so that a packet from the
# web server that does not arrive was stopped on its way and not by a closed port.
mkdir -p /www
echo "the client listens here" >/www/index.html
httpd -p 9999 -h /www
