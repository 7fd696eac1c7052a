#!/bin/sh -e
# The web server. It listens on two ports; that only one of them can be reached is the firewall's doing.
mkdir -p /www
echo "Hello from $(hostname), through the chain." >/www/index.html
httpd -p 80 -h /www
httpd -p 2323 -h /www
