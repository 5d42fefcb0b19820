//go:build apps

package apps

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
)

var apacheApps = []app{
	{name: "Apache prefork", packages: []string{"apache2"}, run: func(b *bench) { runApache(b, "prefork") }},
	{name: "Apache event", packages: []string{"apache2"}, run: func(b *bench) { runApache(b, "event") }, remark: "With HTTP/2."},
	{
		name: "PHP-FPM", packages: []string{"php-fpm", "nginx-light"}, run: runPHP,
		remark: "nginx and PHP-FPM on different hosts, either of them on the TOE.",
	},
}

func (b *bench) apacheConfig(mpm string) string {
	b.Helper()
	b.folder("docs", "root")
	b.write("docs/page", page)
	modules := []string{"mpm_" + mpm, "authz_core", "ssl", "socache_shmcb", "mime", "http2", "rewrite", "status", "dir"}
	if mpm == "prefork" {
		modules = []string{"mpm_prefork", "authz_core", "ssl", "socache_shmcb", "mime", "status", "dir"}
	}
	var load strings.Builder
	for _, m := range modules {
		load.WriteString("LoadModule " + m + "_module /usr/lib/apache2/modules/mod_" + m + ".so\n")
	}
	return b.write("httpd.conf", strings.NewReplacer("DIR", b.Dir, "KEY", b.certificate()).Replace(load.String()+`
ServerRoot DIR
ServerName toe
PidFile DIR/httpd.pid
DefaultRuntimeDir DIR
TypesConfig /etc/mime.types
User www-data
Group www-data
ErrorLog DIR/error.log
LogFormat "%h %>s" who
CustomLog DIR/access.log who
Listen 80
Listen 443
Timeout 60
KeepAliveTimeout 5
MaxKeepAliveRequests 0
DocumentRoot DIR/docs
EnableSendfile On
<Directory DIR/docs>
	Require all granted
</Directory>
<VirtualHost *:443>
	SSLEngine on
	SSLCertificateFile KEY
	SSLCertificateKeyFile KEY
	<IfModule http2_module>
		Protocols h2 http/1.1
	</IfModule>
</VirtualHost>
`))
}

func runApache(b *bench, mpm string) {
	conf := b.apacheConfig(mpm)
	_, sum := b.random("docs/big", 64*megabyte)
	server := b.daemon(80, b.Path("httpd.pid"), "/usr/sbin/apache2", "-f", conf)
	steps := "HTTP and TLS, IPv4 and IPv6, 64 MiB"
	if mpm == "event" {
		steps = "HTTP, TLS and HTTP/2, IPv4 and IPv6, 64 MiB"
	}
	b.step(steps, func() {
		for _, url := range []string{"http://" + toeAddr, "http://[" + toeAddr6 + "]", "https://" + toeAddr} {
			b.curl("-k", "-o", b.Path("down"), url+"/big")
			b.same(b.Path("down"), sum)
		}
		if mpm == "event" {
			require.Equal(b, "2", b.curl("-k", "--http2", "-w", "%{http_version}", "-o", os.DevNull, "https://"+toeAddr+"/page"))
		}
		l := b.load("https://"+toeAddr+"/page", 8, page)
		l.passes(200)
		l.end()
	})
	b.step("5 graceful restarts under load, 0 failed requests", func() {
		l := b.load("http://"+toeAddr+"/page", 8, page)
		for range 5 {
			l.passes(200)
			b.signal(server, syscall.SIGUSR1)
		}
		l.passes(1000)
		l.end()
	})
	b.step("children killed, the parent starts others", func() {
		for _, pid := range b.children(server) {
			b.signal(pid, syscall.SIGKILL)
		}
		b.until(func() error { return get(httpClient(b.FarHost), "http://"+toeAddr+"/page", page) })
		l := b.load("http://"+toeAddr+"/page", 8, page)
		l.passes(200)
		l.end()
	})
	b.step("the access log has the clients' addresses", func() {
		log, err := os.ReadFile(b.Path("access.log"))
		b.ok(err)
		for line := range strings.Lines(string(log)) {
			who, _, _ := strings.Cut(line, " ")
			require.Contains(b, []string{peerAddr, peerAddr6}, who)
		}
	})
	b.step("graceful end", func() {
		b.signal(server, syscall.SIGWINCH)
		b.gone(server)
	})
}

// phpServer writes the configuration of a PHP-FPM and returns the words that start it.
func (b *bench) phpServer(name string) []string {
	b.Helper()
	found, err := filepath.Glob("/usr/sbin/php-fpm*")
	b.ok(err)
	require.NotEmpty(b, found)
	dir := b.folder(name, "www-data")
	conf := b.write(name+"/fpm.conf", strings.ReplaceAll(`[global]
error_log = DIR/error.log
pid = DIR/pid
daemonize = no
[www]
user = www-data
group = www-data
listen = 9000
pm = dynamic
pm.max_children = 8
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 4
pm.max_requests = 200
`, "DIR", dir))
	return []string{found[len(found)-1], "-n", "-y", conf}
}

func runPHP(b *bench) {
	b.write("php/info.php", `<?php
if (isset($_GET['fetch'])) {
	echo file_get_contents('http://' . $_GET['fetch'] . '/page');
} else {
	echo strlen(file_get_contents('php://input')), ' ', md5(file_get_contents('php://input'));
}
`)
	location := func(fpm string) string {
		return "location /php/ { root " + b.Dir + "; fastcgi_pass " + fpm + ":9000; fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;" +
			" fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;" +
			" fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param CONTENT_TYPE $content_type; }"
	}
	body, _ := b.random("body", 5*megabyte)
	digest := strings.Fields(b.here("md5sum", body))[0]
	everything := func(host, other string) {
		b.Helper()
		out := b.far("curl", "-sS", "--fail", "--data-binary", "@"+body, "-H", "Content-Type: application/octet-stream", "http://"+host+"/php/info.php")
		require.Equal(b, "5242880 "+digest, out)
		require.Equal(b, page, b.far("curl", "-sS", "--fail", "http://"+host+"/php/info.php?fetch="+other))
		l := b.load("http://"+host+"/php/info.php", 8, "0 d41d8cd98f00b204e9800998ecf8427e")
		l.passes(1000) // processes are replaced meanwhile
		l.end()
	}
	near, far := b.webConfig("near", location(peerAddr)), b.webConfig("far", location(toeAddr))
	b.serve(80, near.foreground()...)
	b.serveFar(80, far.foreground()...)
	php := b.serve(9000, b.phpServer("nearphp")...)
	b.serveFar(9000, b.phpServer("farphp")...)
	b.step("behind nginx on the TOE, across the wire", func() { everything(toeAddr, peerAddr) })
	b.step("on the TOE, behind nginx on the kernel; as HTTP client", func() { everything(peerAddr, peerAddr) })
	b.step("reload", func() {
		b.signal(php.PID(), syscall.SIGUSR2)
		b.until(func() error {
			return get(httpClient(b.FarHost), "http://"+peerAddr+"/php/info.php", "0 d41d8cd98f00b204e9800998ecf8427e")
		})
		everything(peerAddr, peerAddr)
	})
}
