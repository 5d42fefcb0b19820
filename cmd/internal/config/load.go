package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strconv"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// Load reads and checks file. The error is [Problems] unless the file cannot be read.
func Load(file string) (*Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		cause := err
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			cause = pe.Err
		}
		return nil, fmt.Errorf("%s: cannot read the configuration: %w", file, cause)
	}
	return Parse(file, text)
}

// Parse is [Load] for a text at hand; file is its name in problems.
func Parse(file string, text []byte) (*Config, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, Problems{syntax(file, err)}
	}
	w := newWalker(file)
	w.document(&root)
	if len(w.problems) > 0 {
		return nil, w.problems
	}
	cfg, err := decode(text, len(w.ports))
	if err != nil {
		return nil, Problems{{File: file, Cause: err.Error()}}
	}
	c := checker{walker: w}
	c.config(cfg)
	if len(w.problems) > 0 {
		return nil, w.problems
	}
	return cfg, nil
}

// decode reads text over the defaults; nports is the number of entries under "ports".
func decode(text []byte, nports int) (*Config, error) {
	v := viper.New()
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return nil, err
	}
	cfg := Default()
	for range nports {
		cfg.Ports = append(cfg.Ports, DefaultPort())
	}
	err := v.UnmarshalExact(&cfg, viper.DecodeHook(mapstructure.ComposeDecodeHookFunc(
		singleNumber, mapstructure.TextUnmarshallerHookFunc())))
	return &cfg, err
}

// singleNumber gives a range of one number, which YAML takes for a number, back its text.
func singleNumber(_, to reflect.Type, data any) (any, error) {
	n, ok := data.(int)
	if !ok {
		return data, nil
	}
	switch to {
	case reflect.TypeFor[PortRange](), reflect.TypeFor[Users](), reflect.TypeFor[Groups]():
		return strconv.Itoa(n), nil
	}
	return data, nil
}
