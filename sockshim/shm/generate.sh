#!/bin/sh
# Prints the Go layout of toe_shm.h. "go generate" redirects it to layout.go; a test compares.
# Fields lose their underscores: rx_prod becomes RxProd.
set -e
cd "$(dirname "$0")"
obj=$(mktemp -d)
trap 'rm -rf "$obj"' EXIT
go tool cgo -objdir "$obj/" -godefs godefs.go | sed -E 's/_([a-z])/\U\1/g' | sed -E "2s,-objdir [^ ]+ ,," | gofmt
