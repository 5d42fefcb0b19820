package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// walker compares a YAML document with the shape of [Config] before anything is decoded, because
// only the document knows lines. It collects the line and text of every key for the later checks.
type walker struct {
	file     string
	lines    map[string]int    // by dotted path
	cols     map[string]int    // of the rules of the policy, of which a line may hold many
	values   map[string]string // scalars by dotted path
	ports    []*yaml.Node
	problems Problems
}

func newWalker(file string) *walker {
	return &walker{file: file, lines: map[string]int{}, cols: map[string]int{}, values: map[string]string{}}
}

func (w *walker) report(line int, key, value, cause, mend string) {
	w.problems = append(w.problems, &Problem{w.file, line, w.col(key), key, value, cause, mend})
}

// col returns the column of key, or of the nearest key above it that has one.
func (w *walker) col(key string) int {
	for key != "" {
		if col, ok := w.cols[key]; ok {
			return col
		}
		key = above(key)
	}
	return 0
}

// above is the key that key stands in.
func above(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }

// place notes where key stands, if it is in a rule of the policy.
func (w *walker) place(key string, n *yaml.Node) {
	if strings.HasPrefix(key, "policy[") {
		w.cols[key] = n.Column
	}
}

func (w *walker) document(root *yaml.Node) {
	if len(root.Content) == 0 {
		return // an empty file: the defaults
	}
	w.node("", root.Content[0], reflect.TypeFor[Config]())
}

func (w *walker) node(path string, n *yaml.Node, t reflect.Type) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	w.lines[path] = n.Line
	w.place(path, n)
	switch {
	case n.Tag == "!!null": // "key:" with nothing after it: the default
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		w.scalar(path, n, func(s string) error {
			return reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
		})
	case t.Kind() == reflect.Struct:
		w.mapping(path, n, t)
	case t.Kind() == reflect.Slice:
		w.sequence(path, n, t.Elem())
	case t.Kind() == reflect.Int:
		w.scalar(path, n, func(s string) error { return parsed(strconv.Atoi(s))("write a whole number") })
	case t.Kind() == reflect.Bool:
		w.scalar(path, n, func(s string) error { return parsed(strconv.ParseBool(s))("write true or false") })
	default:
		w.scalar(path, n, func(string) error { return nil })
	}
}

// parsed turns a parser's error into one that says what to write.
func parsed[T any](_ T, err error) func(mend string) error {
	return func(mend string) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s", mend)
	}
}

func (w *walker) scalar(path string, n *yaml.Node, parse func(string) error) {
	if n.Kind != yaml.ScalarNode {
		w.report(n.Line, path, "", "expects a single value", "")
		return
	}
	w.values[path] = n.Value
	if err := parse(n.Value); err != nil {
		w.report(n.Line, path, n.Value, "bad value", err.Error())
	}
}

func (w *walker) sequence(path string, n *yaml.Node, elem reflect.Type) {
	if n.Kind != yaml.SequenceNode {
		w.report(n.Line, path, n.Value, "expects a list", "write it as [a, b] or with one \"- \" line each")
		return
	}
	if path == "ports" {
		w.ports = n.Content
	}
	for i, c := range n.Content {
		w.node(fmt.Sprintf("%s[%d]", path, i), c, elem)
	}
}

func (w *walker) mapping(path string, n *yaml.Node, t reflect.Type) {
	if n.Kind != yaml.MappingNode {
		w.report(n.Line, path, n.Value, "expects keys and values", "")
		return
	}
	fields := fieldsByKey(t)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		sub := join(path, k.Value)
		w.place(sub, k)
		field, ok := fields[k.Value]
		if !ok {
			w.report(k.Line, sub, "", "unknown key", suggest(k.Value, fields))
			continue
		}
		if line, twice := seen[k.Value]; twice {
			w.report(k.Line, sub, "", fmt.Sprintf("given twice, first on line %d", line), "keep one")
			continue
		}
		seen[k.Value] = k.Line
		w.node(sub, n.Content[i+1], field.Type)
		w.lines[sub] = k.Line
	}
}

// fieldsByKey returns t's fields by the key under which they stand in a file.
func fieldsByKey(t reflect.Type) map[string]reflect.StructField {
	m := make(map[string]reflect.StructField, t.NumField())
	for f := range t.Fields() {
		m[f.Tag.Get("mapstructure")] = f
	}
	return m
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// suggest names the valid key that is most like key, or all of them when none is.
func suggest(key string, fields map[string]reflect.StructField) string {
	valid := make([]string, 0, len(fields))
	for k := range fields {
		valid = append(valid, k)
	}
	slices.Sort(valid)
	best, bestDist := "", 1+len(key)/3
	for _, k := range valid {
		if d := editDistance(strings.ToLower(key), k); d <= bestDist && (best == "" || d < bestDist) {
			best, bestDist = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "valid keys here: " + strings.Join(valid, ", ")
}

// editDistance counts the insertions, deletions and substitutions between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
