package pmd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// HugePageMode says whether DPDK's memory is made of huge pages.
type HugePageMode int

// The modes.
const (
	HugePagesAuto    HugePageMode = iota // use them if enough are free
	HugePagesRequire                     // fail without them
	HugePagesOff
)

// ParseHugePageMode understands "auto", "require" and "off".
func ParseHugePageMode(s string) (HugePageMode, bool) {
	switch s {
	case "auto", "":
		return HugePagesAuto, true
	case "require":
		return HugePagesRequire, true
	case "off":
		return HugePagesOff, true
	}
	return 0, false
}

// freeHugePages returns how many MiB of free huge pages of one size there are at most: DPDK fills
// a request from the largest size first and does not need more than one.
func freeHugePages() (mib int) {
	dirs, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	for _, dir := range dirs {
		name := filepath.Base(dir)
		kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, "hugepages-"), "kB"))
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "free_hugepages"))
		if err != nil {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil {
			mib = max(mib, n*kib/1024)
		}
	}
	return mib
}
