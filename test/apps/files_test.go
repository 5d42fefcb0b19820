//go:build apps

package apps

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"
)

var fileApps = []app{
	{name: "rsync", packages: []string{"rsync"}, run: runRsync, remark: "The daemon's process for a connection gives up root and is confined to a chroot."},
	{
		name: "vsftpd", packages: []string{"vsftpd", "curl"}, run: runFTP, config: "clients: {memory: 24MiB}\n",
		remark: "A process for each session, confined by namespaces, chroot and seccomp. It limits its address space, in which toed's memory counts: `clients.memory: 24MiB`.",
	},
	{name: "git daemon", packages: []string{"git"}, run: runGit},
	{name: "inetd", packages: []string{"openbsd-inetd"}, run: runInetd, remark: "Programs that get an accepted connection as standard input and output. They have to run as the user that inetd runs as: memory is not shared between users."},
}

// tree makes a folder with files of many sizes.
func (b *bench) tree(name string) string {
	b.Helper()
	for i := range 60 {
		b.random(fmt.Sprintf("%s/%d/%d", name, i%5, i), int64(i*i*1000))
	}
	b.ok(os.Chmod(b.Path(name), 0o755))
	return b.Path(name)
}

func (b *bench) rsyncd(name string) []string {
	b.Helper()
	b.folder(name+"/in", "nobody")
	conf := b.write(name+"/rsyncd.conf", strings.NewReplacer("DIR", b.Path(name), "TREE", b.Path("tree")).Replace(`pid file = DIR/pid
log file = DIR/rsyncd.log
uid = nobody
gid = nogroup
use chroot = yes
[tree]
	path = TREE
[in]
	path = DIR/in
	read only = no
`))
	return []string{"rsync", "--daemon", "--no-detach", "--config=" + conf}
}

func runRsync(b *bench) {
	tree := b.tree("tree")
	everything := func(host, name string, run func(words ...string) string) {
		b.Helper()
		got := b.Path("got-" + name)
		run("rsync", "-a", "rsync://"+host+"/tree/", got+"/")
		b.here("diff", "-r", tree, got)
		run("rsync", "-r", tree+"/", "rsync://"+host+"/in/")
		b.here("diff", "-r", tree, b.Path(name, "in"))
		// Only what has changed.
		big := filepath.Join(b.Path(name), "in/4/59")
		f, err := os.OpenFile(big, os.O_WRONLY, 0)
		b.ok(err)
		_, err = f.WriteAt([]byte("changed"), 1000)
		b.ok(errors.Join(err, f.Close()))
		run("rsync", "-rcz", "--no-whole-file", "rsync://"+host+"/in/", got+"/")
		b.here("diff", "-r", b.Path(name, "in"), got)
		b.ok(os.RemoveAll(got))
	}
	b.serve(873, b.rsyncd("near")...)
	b.step("a tree out, in, and its changes, over IPv4 and IPv6", func() {
		everything(toeAddr, "near", b.far)
		b.ok(os.RemoveAll(b.Path("near/in")))
		b.folder("near/in", "nobody")
		everything("["+toeAddr6+"]", "near", b.far)
	})
	b.step("10 clients at once", func() {
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() { b.far("rsync", "-a", "rsync://"+toeAddr+"/tree/", b.Path(fmt.Sprint("copy", i))+"/") })
		}
		all.Wait()
		for i := range 10 {
			b.here("diff", "-r", tree, b.Path(fmt.Sprint("copy", i)))
		}
	})
	b.step("the log has the clients' addresses", func() {
		log, err := os.ReadFile(b.Path("near/rsyncd.log"))
		b.ok(err)
		require.Contains(b, string(log), "("+peerAddr+")")
		require.Contains(b, string(log), "("+peerAddr6+")")
	})
	b.step("the client on the TOE", func() {
		b.serveFar(873, b.rsyncd("far")...)
		everything(peerAddr, "far", b.near)
	})
}

func runFTP(b *bench) {
	tree := b.tree("ftp")
	b.folder("ftp/in", "ftp")
	b.folder("empty", "root")
	conf := b.write("vsftpd.conf", strings.NewReplacer("DIR", b.Dir).Replace(`listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
no_anon_password=YES
anon_root=DIR/ftp
write_enable=YES
anon_upload_enable=YES
anon_umask=022
anon_other_write_enable=YES
local_enable=NO
connect_from_port_20=YES
port_enable=YES
pasv_enable=YES
xferlog_enable=YES
vsftpd_log_file=DIR/vsftpd.log
secure_chroot_dir=DIR/empty
`))
	b.serve(21, "vsftpd", conf)
	file := filepath.Join(tree, "4/59")
	everything := func(host string, args ...string) {
		b.Helper()
		for range 3 {
			b.far(append([]string{"curl", "-sS", "-o", b.Path("got"), "ftp://" + host + "/4/59"}, args...)...)
			b.here("cmp", file, b.Path("got"))
			b.far(append([]string{"curl", "-sS", "-T", file, "ftp://" + host + "/in/put"}, args...)...)
			b.here("cmp", file, b.Path("ftp/in/put"))
			list := b.far(append([]string{"curl", "-sS", "-l", "ftp://" + host + "/4/"}, args...)...)
			require.Equal(b, 12, len(strings.Fields(list)), list)
			b.ok(os.Remove(b.Path("ftp/in/put")))
		}
	}
	b.step("passive: files out and in, lists, over IPv4 and IPv6", func() {
		everything(toeAddr)
		everything("[" + toeAddr6 + "]")
	})
	b.step("active: the server connects from port 20", func() {
		everything(toeAddr, "-P", "-")
		everything("["+toeAddr6+"]", "-P", "-")
	})
	b.step("10 sessions at once", func() {
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() { b.far("curl", "-sS", "-o", b.Path(fmt.Sprint("got", i)), "ftp://"+toeAddr+"/4/59") })
		}
		all.Wait()
		for i := range 10 {
			b.here("cmp", file, b.Path(fmt.Sprint("got", i)))
		}
	})
	b.step("the log has the clients' addresses", func() {
		log, err := os.ReadFile(b.Path("vsftpd.log"))
		b.ok(err)
		require.Contains(b, string(log), peerAddr)
	})
}

func (b *bench) repository() {
	b.Helper()
	tree := b.tree("repos/work")
	git := func(args ...string) {
		b.Helper()
		b.here(append([]string{"git", "-C", tree, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
	}
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-q", "-m", "all")
	b.here("git", "clone", "-q", "--bare", tree, b.Path("repos/bare.git"))
}

func runGit(b *bench) {
	b.repository()
	everything := func(host string, run func(words ...string) string) {
		b.Helper()
		clone := b.Path("clone")
		git := func(args ...string) {
			run(append([]string{"git", "-C", clone, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		}
		run("git", "clone", "-q", "git://"+host+"/bare.git", clone)
		b.here("diff", "-r", "-x", ".git", b.Path("repos/work"), clone)
		git("commit", "-q", "--allow-empty", "-m", "more")
		git("push", "-q", "origin", "main")
		git("fetch", "-q")
		git("fsck", "--no-progress")
		b.here("git", "-c", "safe.directory=*", "-C", b.Path("repos/bare.git"), "fsck", "--no-progress")
		b.ok(os.RemoveAll(clone))
	}
	daemon := func(more ...string) []string {
		return append([]string{"git", "daemon", "--export-all", "--reuseaddr", "--enable=receive-pack", "--base-path=" + b.Path("repos")}, more...)
	}
	b.serve(9418, daemon()...)
	b.step("clone, push and fetch over IPv4 and IPv6", func() {
		everything(toeAddr, b.far)
		everything("["+toeAddr6+"]", b.far)
	})
	b.step("8 clones at once", func() {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() { b.far("git", "clone", "-q", "git://"+toeAddr+"/bare.git", b.Path(fmt.Sprint("clone", i))) })
		}
		all.Wait()
	})
	b.step("the client on the TOE", func() {
		b.serveFar(9418, daemon()...)
		everything(peerAddr, b.near)
	})
}

func runInetd(b *bench) {
	b.repository()
	conf := b.write("inetd.conf", `9418 stream tcp nowait root /usr/bin/git git daemon --inetd --export-all --base-path=`+b.Path("repos")+`
7000 stream tcp nowait root /bin/cat cat
7001 stream tcp6 nowait root /bin/cat cat
`)
	b.serve(7000, "/usr/sbin/inetd", "-i", conf)
	b.step("cat, over IPv4 and IPv6", func() {
		b.echo(b.far, toeAddr, 7000, 8)
		b.echo(b.far, "["+toeAddr6+"]", 7001, 8)
	})
	b.step("git daemon", func() {
		b.far("git", "clone", "-q", "git://"+toeAddr+"/bare.git", b.Path("clone"))
		b.here("diff", "-r", "-x", ".git", b.Path("repos/work"), b.Path("clone"))
	})
}
