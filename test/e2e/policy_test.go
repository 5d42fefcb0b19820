//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/test/lab"
)

// policyLab is a lab whose port is also the near kernel's, by a TAP, with an nginx on the TOE and one on the
// far kernel, both on port 80.
type policyLab struct {
	*testing.T
	*lab.Lab
	ctx  context.Context
	d    *lab.Toed
	file string // toed's configuration
	sum  string // of what nginx on the TOE serves as "big"
}

func newPolicyLab(t *testing.T, more string) *policyLab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	p := &policyLab{T: t, Lab: wire(t), ctx: ctx}
	p.configure(more)
	d, err := p.StartToed(ctx, p.file, p.Path("toed-run"))
	require.NoError(t, err)
	p.d = d
	_, p.sum = nginx(ctx, t, p.Lab, d, 80, 16*megabyte)
	words, err := lab.Nginx{Name: "far", Port: 80, Workers: 1, Docs: p.Path("docs")}.Words(p.Lab)
	require.NoError(t, err)
	far, err := p.Start(p.FarHost, words[0], words[1:]...)
	require.NoError(t, err)
	require.NoError(t, far.WaitFor(ctx, func() error { return p.FarHost.Listening(80) }))
	return p
}

// configure writes toed's configuration.
func (p *policyLab) configure(more string) {
	p.Helper()
	body := strings.Replace(config("af_xdp", more), "    addresses", "    kernel: tap\n    kernel_interface: ktoe0\n    addresses", 1)
	file, _, err := p.WriteConfig(body)
	require.NoError(p, err)
	p.file = file
}

// write writes a policy file.
func (p *policyLab) write(name, text string) string {
	p.Helper()
	file := p.Path(name)
	require.NoError(p, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func (p *policyLab) toectl(args ...string) string {
	p.Helper()
	out, err := p.d.Toectl(p.ctx, args...)
	require.NoError(p, err, out)
	return out
}

// fetch starts a slow transfer from the near host.
func (p *policyLab) fetch(name string) *lab.Process {
	p.Helper()
	curl, err := p.Start(p.FarHost, "curl", "-sS", "--fail", "--noproxy", "*", "--limit-rate", "8M", "-o", p.Path(name), "http://"+toeAddr+"/big")
	require.NoError(p, err)
	return curl
}

// fetched waits for the end of a transfer, and demands that all has come.
func (p *policyLab) fetched(curl *lab.Process, name string) {
	p.Helper()
	select {
	case <-curl.Done():
	case <-p.ctx.Done():
		require.NoError(p, p.ctx.Err(), name)
	}
	require.NoError(p, lab.CheckSum(p.Path(name), p.sum), curl.Text())
}

// shows waits until `toectl ss` shows every one of the words.
func (p *policyLab) shows(words ...string) {
	p.Helper()
	eventually(p.ctx, p.T, func() error {
		out, err := p.d.Toectl(p.ctx, "ss", "-tniO", "state", "established", "-p")
		for _, w := range words {
			if err == nil && !strings.Contains(out, w) {
				err = fmt.Errorf("toectl ss does not show %q:\n%s", w, out)
			}
		}
		return err
	})
}

// TestPolicy gives programs and users rules of their own, changes rules under load, drains, and ends toed
// with connections under way.
func TestPolicy(t *testing.T) {
	t.Parallel()
	p := newPolicyLab(t, "shutdown_grace: 1m\n")
	p.programs()
	p.live()
	p.drain()
	p.finish()
}

// programs: a rule for a user, and one for a program.
func (p *policyLab) programs() {
	rules := p.write("programs.yaml", "- {name: nobody, uid: 65534, offload: no}\n- {name: fetch, program: curl, congestion_control: reno}\n")
	require.Contains(p, p.toectl("policy", "load", "--dry-run", rules), "not loaded")
	require.Contains(p, p.toectl("policy", "show"), "0 rules")
	require.Contains(p, p.toectl("policy", "load", rules), "program: curl")

	before, url := offloaded(p.ctx, p.T, p.d), "http://"+peerAddr+"/small"
	offloadedCurl(p.ctx, p.T, p.Lab, p.d, "-o", os.DevNull, url)
	require.Equal(p, before+1, offloaded(p.ctx, p.T, p.d), "root's curl is on the TOE")
	words := append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups"}, p.Toerun(p.d.Socket(), "curl", "-sS", "--fail", "--noproxy", "*", "-o", os.DevNull, url)...)
	_, err := p.NearHost.Output(p.ctx, "setpriv", words...)
	require.NoError(p, err, "the kernel goes on where the TOE does not")
	require.Equal(p, before+1, offloaded(p.ctx, p.T, p.d), "nobody's curl is on the kernel")
	require.Regexp(p, `active .* 10\.99\.0\.2:80 +policy +users:\(\("curl",pid=\d+\)\) ended +a rule of the policy`, p.toectl("ss", "--kernel"))
	require.Regexp(p, `0 +1 +nobody`, p.toectl("policy", "stats"))
	require.Regexp(p, `1 +1 +fetch`, p.toectl("policy", "stats"))
	require.Contains(p, p.toectl("status"), "refused for policy 1")
	require.Regexp(p, `declined policy +a rule of the policy`, p.toectl("stats"))

	test := func(args ...string) string {
		return p.toectl(append([]string{"policy", "test", "connect", peerAddr + ":80"}, args...)...)
	}
	require.Contains(p, test("--program", "/usr/bin/curl"), "1 fetch")
	require.Contains(p, test("--program", "/usr/bin/curl", "--uid", "65534"), "left to the kernel: policy")
	require.Regexp(p, `0 +1 +nobody`, p.toectl("policy", "stats"), "a test counts nothing")
}

// live: rules change under a transfer, which keeps what it began with.
func (p *policyLab) live() {
	p.toectl("policy", "load", p.write("bbr.yaml", "policy:\n  - {name: web, local_ports: 80, congestion_control: bbr}\n"))
	old := p.fetch("old")
	p.shows(`("nginx",pid=`, ",fd=", " bbr ")

	_, err := p.d.Toectl(p.ctx, "policy", "load", p.write("broken.yaml", "- {role: passive}\n- {role: both}\n"))
	require.ErrorContains(p, err, `broken.yaml:2:10: policy[1].role: "both": not a valid choice`)
	require.Contains(p, p.toectl("policy", "show"), "congestion_control: bbr")

	p.configure("shutdown_grace: 1m\npolicy: [{local_ports: 80, congestion_control: reno}]\n")
	require.NoError(p, syscall.Kill(p.d.PID(), syscall.SIGHUP))
	eventually(p.ctx, p.T, func() error {
		if out := p.toectl("policy", "show"); !strings.Contains(out, "congestion_control: reno") {
			return fmt.Errorf("SIGHUP did not load: %s", out)
		}
		return nil
	})
	young := p.fetch("young")
	p.shows(" bbr ", " reno ")
	p.fetched(old, "old")
	p.fetched(young, "young")
}

// drain: what exists goes on, what is new is the kernel's, on the same port of the same program.
func (p *policyLab) drain() {
	running := p.fetch("drained")
	p.shows("ESTAB")
	before := offloaded(p.ctx, p.T, p.d)
	require.Contains(p, p.toectl("drain"), "draining: 1 connections remain")
	curl(p.ctx, p.T, p.FarHost, "-o", os.DevNull, "http://"+toeAddr+"/small")
	curl(p.ctx, p.T, p.FarHost, "-o", os.DevNull, "http://["+toeAddr6+"]/small")
	offloadedCurl(p.ctx, p.T, p.Lab, p.d, "-o", os.DevNull, "http://"+peerAddr+"/small")
	require.Equal(p, before, offloaded(p.ctx, p.T, p.d), "something new was offloaded")
	require.Contains(p, p.toectl("ss", "--kernel"), "draining")
	require.Contains(p, p.toectl("status"), "draining: nothing new is offloaded")
	require.Contains(p, p.toectl("drain", "--wait"), "drained: no connection remains")
	p.fetched(running, "drained")
	require.Contains(p, p.toectl("drain", "--off"), "not draining")
	curl(p.ctx, p.T, p.FarHost, "-o", os.DevNull, "http://"+toeAddr+"/small")
	require.Equal(p, before+1, offloaded(p.ctx, p.T, p.d))
}

// finish: the first SIGTERM lets a transfer come to its end.
func (p *policyLab) finish() {
	running := p.fetch("finished")
	p.shows("ESTAB")
	require.NoError(p, syscall.Kill(p.d.PID(), syscall.SIGTERM))
	p.fetched(running, "finished")
	select {
	case <-p.d.Done():
	case <-p.ctx.Done():
		require.NoError(p, p.ctx.Err(), "toed does not end")
	}
	require.NoError(p, p.d.Stop(), "an orderly end")
	require.Contains(p, p.d.Text(), "draining first")
	require.NotContains(p, p.d.Text(), "ends with connections")
}
