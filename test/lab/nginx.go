package lab

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/template"
)

// Nginx describes an unmodified nginx: a master and Workers workers that serve the folder Docs and
// store what is PUT under /up/.
type Nginx struct {
	Name    string // folder for its files, in the lab's
	Port    int
	Workers int
	Docs    string

	ReusePort bool // each worker has listeners of its own
}

// The workers give up root for the user that Debian's package uses.
const nginxUser = "www-data"

var nginxConf = template.Must(template.New("nginx.conf").Parse(`daemon off;
user {{.User}};
worker_processes {{.Workers}};
pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/error.log warn;
events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 100000;
	client_max_body_size 0;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	server {
		listen {{.Port}}{{if .ReusePort}} reuseport{{end}};
		listen [::]:{{.Port}}{{if .ReusePort}} reuseport{{end}};
		root {{.Docs}};
		location /up/ {
			root {{.Dir}};
			dav_methods PUT DELETE;
		}
	}
}
`))

// UploadDir returns where what is PUT under /up/ is stored.
func (n Nginx) UploadDir(l *Lab) string { return l.Path(n.Name, "up") }

// Words writes the configuration and returns the program with its arguments.
func (n Nginx) Words(l *Lab) ([]string, error) {
	dir := l.Path(n.Name)
	if err := os.MkdirAll(n.UploadDir(l), 0o755); err != nil {
		return nil, err
	}
	u, err := user.Lookup(nginxUser)
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid) // numeric on Linux
	if err := os.Chown(n.UploadDir(l), uid, -1); err != nil {
		return nil, err
	}
	conf := l.Path(n.Name, "nginx.conf")
	f, err := os.Create(conf)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = nginxConf.Execute(f, struct {
		Nginx
		User, Dir string
	}{n, nginxUser, dir})
	program, lookErr := lookPath("nginx")
	if lookErr != nil {
		return nil, lookErr
	}
	return []string{program, "-c", conf, "-p", dir, "-e", dir + "/error.log"}, err
}

// Listening reports whether somebody on host h listens on TCP port in the kernel.
func (h Host) Listening(port int) error {
	out, err := h.Output(context.Background(), "ss", "-Hltn", fmt.Sprintf("sport = :%d", port))
	if err == nil && strings.TrimSpace(out) == "" {
		err = fmt.Errorf("nobody listens on port %d", port)
	}
	return err
}
