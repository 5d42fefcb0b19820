//go:build apps

package apps

import (
	"fmt"
	"os"
	"strings"

	"github.com/stretchr/testify/require"
)

var sshApps = []app{
	{
		name: "OpenSSH", packages: []string{"openssh-server", "openssh-client"}, quick: true, run: runSSH,
		remark: "sshd executes itself for each connection; the child before authentication is in a chroot, without privileges, in a seccomp sandbox.",
	},
}

// sshd writes the configuration of a server and returns the words that start it.
func (b *bench) sshd(name string) []string {
	b.Helper()
	b.ok(os.MkdirAll("/run/sshd", 0o755)) // where its children are confined; the package's service makes it
	dir := b.folder(name, "root")
	b.here("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/host")
	conf := b.write(name+"/sshd_config", fmt.Sprintf(`Port 22
HostKey %s/host
PidFile %s/pid
AuthorizedKeysFile %s
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
Subsystem sftp internal-sftp
Match User www-data
	ForceCommand internal-sftp
`, dir, dir, b.Path("key.pub")))
	return []string{"/usr/sbin/sshd", "-D", "-e", "-f", conf}
}

func runSSH(b *bench) {
	b.here("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", b.Path("key"))
	options := []string{"-F", "none", "-i", b.Path("key"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"}
	words := func(program string, args ...string) []string {
		return append(append([]string{program}, options...), args...)
	}
	file, sum := b.random("big", 32*megabyte)
	// host is the server's address; run runs a client.
	everything := func(host string, run func(words ...string) string) {
		b.Helper()
		bracketed := host
		if strings.Contains(host, ":") {
			bracketed = "[" + host + "]"
		}
		out := run(words("ssh", "root@"+host, "echo $SSH_CONNECTION")...)
		require.Contains(b, out, " "+host+" 22")
		run(words("scp", file, "root@"+bracketed+":"+b.Path("copy"))...)
		b.same(b.Path("copy"), sum)
		run(words("scp", "-O", "root@"+bracketed+":"+file, b.Path("copy2"))...)
		b.same(b.Path("copy2"), sum)
		batch := b.write("batch", "put "+file+" "+b.folder("home", "www-data")+"/put\nget "+b.Path("home/put")+" "+b.Path("got")+"\n")
		run(words("sftp", "-b", batch, "www-data@"+bracketed)...)
		b.same(b.Path("got"), sum)
	}
	server := b.sshd("near")
	p := b.serve(22, server...)
	b.step("ssh, scp (both protocols) and sftp to it over IPv4 and IPv6, as root and as an unprivileged user", func() {
		everything(toeAddr, b.far)
		everything(toeAddr6, b.far)
	})
	b.step("20 sessions at once", func() {
		script := "for i in $(seq 20); do " + strings.Join(words("ssh", "root@"+toeAddr, "echo session; sleep 0.2"), " ") + " & done; wait"
		require.Equal(b, 20, strings.Count(b.far("sh", "-c", script), "session"))
	})
	b.step("its sessions' programs do not have the library", func() {
		out := b.far(words("ssh", "root@"+toeAddr, "env")...)
		require.NotContains(b, out, "LD_PRELOAD")
	})
	b.step("port forwarding through it", func() {
		w := b.webConfig("web", "")
		b.serveFar(80, w.foreground()...)
		forward := b.startFar(words("ssh", "-N", "-L", "8080:"+peerAddr+":80", "root@"+toeAddr)...)
		b.ok(forward.WaitFor(b.ctx, func() error { return b.FarHost.Listening(8080) }))
		for range 20 {
			require.Equal(b, page, b.far("curl", "-sS", "--fail", "http://127.0.0.1:8080/page"))
		}
		_ = forward.Stop()
	})
	b.ok(p.Stop())
	b.step("the clients on the TOE", func() {
		b.serveFar(22, b.sshd("far")...)
		everything(peerAddr, b.near)
	})
}
