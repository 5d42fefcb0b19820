package sockets
import ("testing";"os";"os/exec";"fmt")
func TestDebug(t *testing.T) {
	script := os.Getenv("H3_CMD"); if script == "" { t.Skip() }
	srv := toed(t); lib := library(t)
	cmd := exec.Command("bash","-c",script)
	cmd.Env = append(os.Environ(), "LIB="+lib, "TOE_SOCKET="+srv.SocketPath(), "SRC=programs")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fmt.Println(cmd.Run())
	fmt.Printf("%+v\n", srv.Counters())
}
