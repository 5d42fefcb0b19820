// Command gohttp is an ordinary net/http server and client, for tests that run Go programs on the TOE.
//
//	gohttp serve ADDRESS FOLDER       serves files, and takes uploads by PUT
//	gohttp get URL FILE               downloads
//	gohttp put URL FILE               uploads
//	gohttp many URL COUNT PARALLEL    COUNT requests, each over a connection of its own; prints octets
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gohttp:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2])
	case len(args) == 3 && args[0] == "get":
		return get(args[1], args[2])
	case len(args) == 3 && args[0] == "put":
		return put(args[1], args[2])
	case len(args) == 4 && args[0] == "many":
		return many(args[1], args[2], args[3])
	}
	return errors.New("serve ADDRESS FOLDER | get URL FILE | put URL FILE | many URL COUNT PARALLEL")
}

// serve runs until SIGTERM, and then ends in order: no request fails.
func serve(addr, folder string) error {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(folder)))
	mux.HandleFunc("PUT /", func(w http.ResponseWriter, r *http.Request) {
		if err := store(filepath.Join(folder, path.Base(r.URL.Path)), r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		ended <- srv.Shutdown(context.Background())
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

func store(file string, from io.Reader) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, from)
	return err
}

func get(url, file string) error {
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	return store(file, r.Body)
}

func put(url, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	req, err := http.NewRequest(http.MethodPut, url, f)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode/100 != 2 {
		return errors.New(r.Status)
	}
	return nil
}

func many(url, count, parallel string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	p, err := strconv.Atoi(parallel)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var (
		left  atomic.Int64
		total atomic.Int64
		first error
		once  sync.Once
		done  sync.WaitGroup
	)
	left.Store(int64(n))
	for range p {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				k, err := request(client, url)
				total.Add(k)
				if err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	done.Wait()
	fmt.Println(total.Load())
	return first
}

// request makes one request and returns how many octets came.
func request(c *http.Client, url string) (int64, error) {
	r, err := c.Get(url)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	return io.Copy(io.Discard, r.Body)
}
