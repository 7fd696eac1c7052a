#!/bin/sh -e
# Serves a page that says who it is.
mkdir -p /www
hostname >/www/index.html
httpd -p 80 -h /www
