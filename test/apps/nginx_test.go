//go:build apps

package apps

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
)

var nginxApps = []app{
	{
		name: "nginx", packages: []string{"nginx-light"}, quick: true, run: runNginx,
		remark: "2 workers, `sendfile`, TLS 1.3. Half of the load's clients keep their connection.",
	},
}

const megabyte = 1 << 20

// page is what small requests ask for.
var page = strings.Repeat("OpenTOE carries this. ", 50)

// webServer is an nginx with its folders, on port 80.
type webServer struct {
	dir, docs string
	words     []string
}

// webConfig writes the configuration of an nginx named name, whose server has the directives in server.
func (b *bench) webConfig(name, server string) webServer {
	b.Helper()
	w := webServer{dir: b.Path(name), docs: b.Path(name, "docs")}
	b.folder(name+"/up", "www-data")
	b.write(name+"/docs/page", page)
	conf := b.write(name+"/nginx.conf", strings.NewReplacer("DIR", w.dir, "SERVER", server).Replace(`user www-data;
worker_processes 2;
pid DIR/nginx.pid;
error_log DIR/error.log warn;
events { worker_connections 4096; }
http {
	access_log DIR/access.log;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 100000;
	client_max_body_size 0;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen 80;
		listen [::]:80;
		SERVER
		root DIR/docs;
		location /up/ { root DIR; dav_methods PUT DELETE; }
	}
}
`))
	w.words = []string{"/usr/sbin/nginx", "-c", conf, "-p", w.dir, "-e", w.dir + "/error.log"}
	return w
}

// master returns the process that its pid file names.
func (w webServer) master() (int, error) { return readPID(filepath.Join(w.dir, "nginx.pid")) }

// curl runs curl on the far kernel.
func (b *bench) curl(args ...string) string {
	b.Helper()
	return b.far(append([]string{"curl", "-sS", "--fail", "--noproxy", "*", "-m", "120"}, args...)...)
}

func runNginx(b *bench) {
	key := b.certificate()
	w := b.webConfig("nginx", "listen 443 ssl http2; listen [::]:443 ssl http2; ssl_certificate "+key+"; ssl_certificate_key "+key+";")
	_, sum := b.random("nginx/docs/big", 64*megabyte)
	b.daemon(80, w.dir+"/nginx.pid", w.words...)
	transfer := func(args ...string) {
		b.Helper()
		b.curl(append(args, "-o", b.Path("down"), args[0]+"/big")[1:]...)
		b.same(b.Path("down"), sum)
		b.curl(append(args, "-T", b.Path("nginx/docs/big"), args[0]+"/up/big")[1:]...)
		b.same(b.Path("nginx/up/big"), sum)
	}
	b.step("HTTP/1.1 over IPv4 and IPv6, 64 MiB down and up", func() {
		transfer("http://" + toeAddr)
		transfer("http://[" + toeAddr6 + "]")
	})
	b.step("TLS", func() { transfer("https://"+toeAddr, "-k", "--http1.1") })
	b.step("HTTP/2", func() {
		transfer("https://"+toeAddr, "-k", "--http2")
		version := b.curl("-k", "--http2", "-w", "%{http_version}", "-o", os.DevNull, "https://"+toeAddr+"/page")
		require.Equal(b, "2", version)
		l := b.load("https://"+toeAddr+"/page", 4, page)
		l.passes(100)
		l.end()
	})
	b.step("the access log has the clients' addresses", func() {
		log, err := os.ReadFile(b.Path("nginx/access.log"))
		b.ok(err)
		for line := range strings.Lines(string(log)) {
			who, _, _ := strings.Cut(line, " ")
			require.Contains(b, []string{peerAddr, peerAddr6}, who)
		}
	})
	b.step("clients that abort downloads", func() {
		for range 20 {
			_, err := b.FarHost.Output(b.ctx, "curl", "-sS", "-o", os.DevNull, "--max-filesize", "1", "http://"+toeAddr+"/big")
			require.Error(b, err)
		}
	})
	b.step("10 reloads under load, 0 failed requests", func() {
		master, err := w.master()
		b.ok(err)
		l := b.load("http://"+toeAddr+"/page", 8, page)
		l.passes(200)
		for range 10 {
			b.signal(master, syscall.SIGHUP)
			l.passes(200)
		}
		l.end()
	})
	b.step("2 binary upgrades under load, 0 failed requests", func() {
		l := b.load("http://"+toeAddr+"/page", 8, page)
		for range 2 {
			l.passes(200)
			b.upgradeNginx(w, l)
		}
		l.end()
	})
	b.step("workers killed, the master starts others", func() {
		master, err := w.master()
		b.ok(err)
		for _, pid := range b.children(master) {
			b.signal(pid, syscall.SIGKILL)
		}
		b.until(func() error { return get(httpClient(b.FarHost), "http://"+toeAddr+"/page", page) })
		l := b.load("http://"+toeAddr+"/page", 4, page)
		l.passes(200)
		l.end()
	})
	b.step("graceful end", func() {
		master, err := w.master()
		b.ok(err)
		b.signal(master, syscall.SIGQUIT)
		b.gone(master)
	})
}

// upgradeNginx starts the program anew from the running master and lets the former one end.
func (b *bench) upgradeNginx(w webServer, l *load) {
	b.Helper()
	old, err := w.master()
	b.ok(err)
	b.signal(old, syscall.SIGUSR2)
	b.until(func() error {
		pid, err := w.master()
		if err == nil && pid == old {
			err = errors.New("no new master")
		}
		return err
	})
	l.passes(200)
	b.signal(old, syscall.SIGWINCH)
	l.passes(200)
	b.signal(old, syscall.SIGQUIT)
	b.gone(old)
	l.passes(200)
}

// foreground returns the words that run the server without a process in the background.
func (w webServer) foreground() []string { return append(w.words, "-g", "daemon off;") }
