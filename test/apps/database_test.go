//go:build apps

package apps

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/stretchr/testify/require"
)

var databaseApps = []app{
	{
		name: "PostgreSQL", packages: []string{"postgresql-15", "postgresql-contrib"}, run: runPostgres,
		remark: "A process for each connection.",
	},
	{name: "MariaDB", packages: []string{"mariadb-server", "mariadb-client"}, run: runMariaDB, remark: "A thread for each connection."},
}

// postgres makes a database and returns the words that start its server.
func (b *bench) postgres(name string) []string {
	b.Helper()
	dir := b.folder(name, "postgres")
	b.here(as("postgres", postgresBin("initdb"), "-D", dir+"/data", "-A", "trust", "--no-sync")...)
	hba, err := os.OpenFile(dir+"/data/pg_hba.conf", os.O_APPEND|os.O_WRONLY, 0)
	b.ok(err)
	defer hba.Close()
	_, err = fmt.Fprintln(hba, "host all all all trust\nhost replication all all trust")
	b.ok(err)
	return b.postgresWords(dir)
}

func (b *bench) postgresWords(dir string) []string {
	return as("postgres", postgresBin("postgres"), "-D", dir+"/data", "-c", "listen_addresses=*", "-c", "unix_socket_directories="+dir,
		"-c", "fsync=off", "-c", "max_connections=60")
}

// postgresBin finds a program of the server: Debian keeps them by version.
func postgresBin(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is well-formed
	if len(found) == 0 {
		return name
	}
	return found[len(found)-1]
}

func runPostgres(b *bench) {
	client := func(program, host string, args ...string) []string {
		return append([]string{postgresBin(program), "-h", host, "-U", "postgres"}, args...)
	}
	sql := func(host, command string) string {
		b.Helper()
		return strings.TrimSpace(b.far(client("psql", host, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", command, "postgres")...))
	}
	bench := func(run func(words ...string) string, host string, args ...string) {
		b.Helper()
		out := run(client("pgbench", host, append(args, "-n", "postgres")...)...)
		require.Contains(b, out, "number of failed transactions: 0 (0.000%)")
	}
	server := b.serve(5432, b.postgres("near")...)
	ready := func(host string) {
		b.until(func() error { return b.FarHost.Run("pg_isready", "-q", "-U", "postgres", "-h", host) })
	}
	ready(toeAddr)
	b.step("pgbench: 20 clients; a connection for each transaction; prepared statements; IPv6", func() {
		b.far(client("pgbench", toeAddr, "-i", "-q", "-s", "2", "postgres")...)
		bench(b.far, toeAddr, "-c", "20", "-j", "2", "-t", "50")
		bench(b.far, toeAddr, "-C", "-S", "-c", "10", "-t", "20")
		bench(b.far, toeAddr6, "-M", "prepared", "-S", "-c", "10", "-t", "200")
	})
	b.step("the server knows the client's address", func() {
		require.Equal(b, peerAddr, sql(toeAddr, "select host(inet_client_addr())"))
	})
	b.step("pg_dump and COPY of 100,000 rows", func() {
		sql(toeAddr, "create table t as select i, md5(i::text) m from generate_series(1, 100000) i")
		dump := b.Path("dump")
		b.far(client("pg_dump", toeAddr, "-t", "t", "-f", dump, "postgres")...)
		sql(toeAddr, "alter table t rename to old")
		b.far(client("psql", toeAddr, "-Xq", "-v", "ON_ERROR_STOP=1", "-f", dump, "postgres")...)
		require.Equal(b, "0", sql(toeAddr, "select count(*) from (table t except table old) d"))
	})
	b.step("a terminated session, and a reload, disturb no other", func() {
		var others sync.WaitGroup
		others.Go(func() { bench(b.far, toeAddr, "-c", "5", "-t", "100") })
		idle := b.startFar(client("psql", toeAddr, "-XAtqc", "select pg_sleep(600)", "dbname=postgres application_name=idle")...)
		b.until(func() error {
			if sql(toeAddr, "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'idle' and wait_event = 'PgSleep'") == "0" {
				return fmt.Errorf("the session has not begun")
			}
			return nil
		})
		b.ends(idle)
		require.Contains(b, idle.Text(), "terminating connection")
		b.signal(server.PID(), syscall.SIGHUP)
		others.Wait()
	})
	b.step("a standby on the kernel by pg_basebackup and streaming replication", func() {
		dir := b.folder("far", "postgres")
		b.far(as("postgres", append(client("pg_basebackup", toeAddr), "-D", dir+"/data", "-R", "--no-sync", "-c", "fast")...)...)
		b.serveFar(5432, b.postgresWords(dir)...)
		ready(peerAddr)
		bench(b.far, toeAddr, "-c", "5", "-t", "50")
		want := sql(toeAddr, "select sum(abalance), pg_current_wal_lsn() from pgbench_accounts")
		sum, lsn, _ := strings.Cut(want, "|")
		b.until(func() error {
			out, err := b.FarHost.Output(b.ctx, "psql", "-h", peerAddr, "-U", "postgres", "-XAtqc",
				"select sum(abalance), pg_last_wal_replay_lsn() >= '"+lsn+"' from pgbench_accounts", "postgres")
			if err == nil && strings.TrimSpace(out) != sum+"|t" {
				err = fmt.Errorf("%s, want %s", out, want)
			}
			return err
		})
	})
	b.step("psql and pgbench on the TOE, against the standby", func() {
		bench(b.near, peerAddr, "-S", "-c", "10", "-t", "200")
		bench(b.near, peerAddr, "-C", "-S", "-c", "10", "-t", "10")
	})
	b.step("fast shutdown", func() {
		b.signal(server.PID(), syscall.SIGINT)
		b.gone(server.PID())
	})
}

// mariadb makes a database and returns the words that start its server.
func (b *bench) mariadb(name string) []string {
	b.Helper()
	dir := b.folder(name, "mysql")
	b.here("mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir="+dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
	start := b.write(name+"/init.sql", "create user remote@'%';\ngrant all on *.* to remote@'%';\ncreate database t;\n")
	return []string{"/usr/sbin/mariadbd", "--no-defaults", "--user=mysql", "--datadir=" + dir + "/data", "--socket=" + dir + "/sock",
		"--pid-file=" + dir + "/pid", "--bind-address=*", "--init-file=" + start, "--innodb-flush-log-at-trx-commit=0",
		"--skip-name-resolve", "--max-allowed-packet=64M"}
}

func runMariaDB(b *bench) {
	client := func(program, host string, args ...string) []string {
		return append([]string{program, "--no-defaults", "-h", host, "-u", "remote", "--skip-ssl"}, args...)
	}
	load := func(run func(words ...string) string, host string, args ...string) {
		b.Helper()
		out := run(client("mariadb-slap", host, append(args, "--auto-generate-sql", "--auto-generate-sql-load-type=mixed")...)...)
		require.Contains(b, out, "Average number of queries per client")
	}
	server := b.serve(3306, b.mariadb("near")...)
	b.step("mariadb-slap: 20 clients; reconnecting; IPv6", func() {
		load(b.far, toeAddr, "--concurrency=20", "--number-of-queries=1000")
		load(b.far, toeAddr, "--concurrency=10", "--number-of-queries=300", "--detach=5")
		load(b.far, toeAddr6, "--concurrency=10", "--number-of-queries=300")
	})
	b.step("100,000 rows out and in by mariadb-dump", func() {
		b.far(client("mariadb", toeAddr, "t", "-e", "create table t as select seq i, md5(seq) m from seq_1_to_100000")...)
		dump := b.Path("dump.sql")
		b.far(client("mariadb-dump", toeAddr, "t", "t", "-r", dump)...)
		b.far("sh", "-c", strings.Join(client("mariadb", toeAddr, "t", "-e", "'rename table t to old'"), " ")+" && "+
			strings.Join(client("mariadb", toeAddr, "t"), " ")+" <"+dump)
		sums := strings.Fields(b.far(client("mariadb", toeAddr, "t", "-BNe", "checksum table t, old")...))
		require.Len(b, sums, 4)
		require.Equal(b, sums[3], sums[1])
	})
	b.step("the server knows the client's address", func() {
		require.Equal(b, "remote@"+peerAddr+"\n", b.far(client("mariadb", toeAddr, "-BNe", "select user()")...))
	})
	b.step("a value of 32 MiB", func() {
		out := b.far(client("mariadb", toeAddr, "--max-allowed-packet=64M", "-BNe", "select length(repeat('x', 33554432)), md5(repeat('x', 33554432)); select repeat('y', 33554432)")...)
		require.Greater(b, len(out), 32*megabyte)
	})
	b.step("clients on the TOE, against a server on the kernel", func() {
		b.serveFar(3306, b.mariadb("far")...)
		load(b.near, peerAddr, "--concurrency=10", "--number-of-queries=300")
	})
	b.step("shutdown", func() { b.ok(server.Stop()) })
}
