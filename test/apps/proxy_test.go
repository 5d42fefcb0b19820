//go:build apps

package apps

import (
	"fmt"
	"net"
	"syscall"

	"github.com/stretchr/testify/require"
)

var proxyApps = []app{
	{name: "haproxy", packages: []string{"haproxy"}, run: runHaproxy, remark: "2 threads; listeners handed over by `expose-fd listeners`."},
}

func (b *bench) haproxyConfig() string {
	key := b.certificate()
	return b.write("haproxy.cfg", fmt.Sprintf(`global
	stats socket %s mode 600 level admin expose-fd listeners
	hard-stop-after 30s
	nbthread 2
	user www-data
	group www-data
defaults
	timeout connect 10s
	timeout client 60s
	timeout server 60s
	retries 0
frontend http
	mode http
	bind :80
	bind :::80 v6only
	bind :443 ssl crt %s alpn h2,http/1.1
	default_backend web
frontend raw
	mode tcp
	bind :8080
	default_backend stream
backend web
	mode http
	http-reuse safe
	server a %s:80
backend stream
	mode tcp
	server a %s:81
`, b.Path("stats.sock"), key, peerAddr, peerAddr))
}

func runHaproxy(b *bench) {
	conf := b.haproxyConfig()
	w := b.webConfig("web", "listen 81;")
	_, sum := b.random("web/docs/big", 64*megabyte)
	b.serveFar(80, w.foreground()...)
	everything := func() {
		b.Helper()
		for _, url := range []string{"http://" + toeAddr, "http://[" + toeAddr6 + "]", "https://" + toeAddr} {
			b.curl("-k", "-o", b.Path("down"), url+"/big")
			b.same(b.Path("down"), sum)
			b.curl("-k", "-T", b.Path("web/docs/big"), url+"/up/big")
			b.same(b.Path("web/up/big"), sum)
		}
		l := b.load("https://"+toeAddr+"/page", 4, page)
		l.passes(100)
		l.end()
	}
	master := b.serve(80, "/usr/sbin/haproxy", "-W", "-db", "-f", conf)
	b.step("HTTP, TLS and HTTP/2 to a server across the wire, both sides on the TOE", everything)
	b.step("TCP mode", func() {
		l := b.load("http://"+toeAddr+":8080/page", 4, page)
		l.passes(100)
		l.end()
	})
	b.step("master-worker: 5 reloads under load, 0 failed requests", func() {
		l := b.load("http://"+toeAddr+"/page", 8, page)
		for range 5 {
			l.passes(200)
			b.signal(master.PID(), syscall.SIGUSR2)
		}
		l.passes(1000)
		l.end()
	})
	b.step("graceful end", func() {
		b.signal(master.PID(), syscall.SIGUSR1)
		b.gone(master.PID())
	})
	b.step("a new process takes the listeners over (-x, -sf) under load, 3 times, 0 failed requests", func() {
		p := b.serve(80, "/usr/sbin/haproxy", "-db", "-f", conf)
		l := b.load("http://"+toeAddr+"/page", 8, page)
		for range 3 {
			l.passes(200)
			next := b.start(b.onTOE("/usr/sbin/haproxy", "-db", "-f", conf, "-x", b.Path("stats.sock"), "-sf", fmt.Sprint(p.PID()))...)
			b.gone(p.PID())
			p = next
		}
		l.passes(200)
		l.end()
	})
	b.step("no server: an answer of its own", func() {
		conf := b.write("dead.cfg", "defaults\n\tmode http\n\ttimeout connect 1s\n\ttimeout client 5s\n\ttimeout server 5s\n"+
			"frontend f\n\tbind :82\n\tdefault_backend b\nbackend b\n\tserver a "+peerAddr+":9\n")
		b.serve(82, "/usr/sbin/haproxy", "-db", "-f", conf)
		r, err := httpClient(b.FarHost).Get("http://" + net.JoinHostPort(toeAddr, "82"))
		b.ok(err)
		defer r.Body.Close()
		require.Equal(b, 503, r.StatusCode)
	})
}
