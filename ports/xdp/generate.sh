#!/bin/sh
# Compiles steer.c to steer_bpf.o with its Go names in steer_bpf.go, and notes what it was compiled of;
# a test compares. Needs clang-14 and the headers of libbpf: apt-get install clang-14 llvm-14 libbpf-dev
set -e
cd "$(dirname "$0")"
command -v clang-14 >/dev/null || {
	echo "ports/xdp: clang-14 is needed to compile steer.c: apt-get install clang-14" >&2
	exit 1
}
GOPACKAGE=xdp go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpf \
	-output-stem steer -no-global-types steer steer.c -- \
	-O2 -Wall -Wextra -Werror -I"/usr/include/$(gcc -print-multiarch)"
sha256sum steer.c >steer.c.sum
