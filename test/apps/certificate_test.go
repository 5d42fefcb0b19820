//go:build apps

package apps

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// certificate makes a key and a certificate for both hosts that it has signed itself, in one file.
func (b *bench) certificate() string {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b.ok(err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "toe"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true, IsCA: true,
		IPAddresses: []net.IP{net.ParseIP(toeAddr), net.ParseIP(toeAddr6), net.ParseIP(peerAddr), net.ParseIP(peerAddr6)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	b.ok(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	b.ok(err)
	var text bytes.Buffer
	b.ok(pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	b.ok(pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return b.write("key.pem", text.String())
}
