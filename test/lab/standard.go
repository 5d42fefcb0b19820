package lab

import (
	"os"
	"path/filepath"
)

// The lab of most tests: the near host's end of the wire is toed's.
const (
	ToeAddr, ToeAddr6   = "10.99.0.1", "fd99::1"
	PeerAddr, PeerAddr6 = "10.99.0.2", "fd99::2"
	NearIf, FarIf       = "toe0", "wire0"
)

// Standard describes that lab. root is the project's folder, name in the names of all that is made for it.
func Standard(root, name string) (Config, error) {
	root, err := filepath.Abs(root)
	return Config{
		Root: root, Dir: filepath.Join(os.TempDir(), name), Near: name + "-near", Far: name + "-far",
		Wire: Wire{NearIf: NearIf, FarIf: FarIf, Address: PeerAddr + "/24", Address6: PeerAddr6 + "/64"},
	}, err
}
