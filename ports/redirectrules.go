package ports

import (
	"bytes"
	"os"
	"path/filepath"
)

// KernelRedirects returns the rules that the kernel has for an interface, as they are at each call
// (accept_redirects, shared_media and secure_redirects of Documentation/networking/ip-sysctl).
func KernelRedirects(iface string) func(four bool) RedirectRules {
	return func(four bool) RedirectRules { return redirectRules("/proc/sys/net", iface, four) }
}

// redirectRules reads the settings below root. Without an interface there are no redirects.
func redirectRules(root, iface string, four bool) RedirectRules {
	family := "ipv6"
	if four {
		family = "ipv4"
	}
	on := func(of, name string) bool {
		b, err := os.ReadFile(filepath.Join(root, family, "conf", of, name))
		return err == nil && !bytes.Equal(bytes.TrimSpace(b), []byte("0"))
	}
	own := func(name string) bool { return on(iface, name) }
	if _, err := os.Stat(filepath.Join(root, family, "conf", iface)); err != nil {
		return RedirectRules{Refuse: true}
	}
	if !four {
		return RedirectRules{Refuse: own("forwarding") || !own("accept_redirects")} // a router takes none
	}
	either := func(name string) bool { return own(name) || on("all", name) }
	accept := own("accept_redirects")
	if own("forwarding") {
		accept = accept && on("all", "accept_redirects")
	} else {
		accept = accept || on("all", "accept_redirects")
	}
	shared := either("shared_media")
	return RedirectRules{
		Refuse:  !accept,
		OffLink: shared,
		Listed:  !shared && either("secure_redirects"),
	}
}
