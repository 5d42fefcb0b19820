// Package architecture holds the project's layering as data and fails when the tree departs from it.
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "opentoe"
	root   = "../.."
)

// imports is the import graph: what each package may import of the project. Folders that are not
// listed may not hold Go packages. A "/..." entry stands for the package and all below it.
var imports = map[string][]string{
	"tcpoffload/seq":     {},
	"tcpoffload/vtime":   {},
	"tcpoffload/wire":    {"tcpoffload/seq"},
	"tcpoffload/cc":      {"tcpoffload/seq", "tcpoffload/vtime"},
	"tcpoffload":         {"tcpoffload/seq", "tcpoffload/vtime", "tcpoffload/wire", "tcpoffload/cc"},
	"tcpoffload/sim":     {"tcpoffload", "tcpoffload/seq", "tcpoffload/vtime", "tcpoffload/wire", "tcpoffload/cc"},
	"tcpoffload/sim/...": {"tcpoffload", "tcpoffload/seq", "tcpoffload/vtime", "tcpoffload/wire", "tcpoffload/cc", "tcpoffload/sim", "tcpoffload/sim/socket"},
	"hwregs":             {},
	"hwregs/gen":         {"hwregs"},
	"pmd/frame":          {},
	"pmd":                {"pmd/frame", "hwregs"},
	"toe":                {"pmd/frame", "tcpoffload/wire", "tcpoffload/vtime"},
	"toe/loopdev":        {"toe", "tcpoffload/wire", "tcpoffload/vtime"},
	"toe/softdev": {"toe", "ports", "hwregs", "pmd/frame", "tcpoffload", "tcpoffload/seq", "tcpoffload/vtime",
		"tcpoffload/wire", "tcpoffload/cc"},
	"ports":           {"toe", "pmd/frame", "tcpoffload/wire", "tcpoffload/vtime"},
	"ports/xdp":       {"ports", "tcpoffload/wire"},
	"ports/netfilter": {"ports", "tcpoffload/seq", "tcpoffload/wire"},
	"ports/rtnl":      {"ports", "tcpoffload/wire", "tcpoffload/vtime"},
	"sockshim/shm":    {},
	"sockshim/server": {"sockshim/shm", "toe", "tcpoffload/vtime", "tcpoffload/wire"},
	"sockshim/client": {"sockshim/shm"},
	"sockshim/notify": {"sockshim/client"},
	"cmd/...":         {"..."},
	"test/...":        {"..."},
}

// pure names the packages that are functions of their arguments.
var pure = []string{"tcpoffload", "tcpoffload/seq", "tcpoffload/vtime", "tcpoffload/wire", "tcpoffload/cc"}

// impure are the imports that a pure package may not have, and the functions of "time" it may not call.
var (
	impureImports = []string{"sync", "sync/atomic", "os", "log", "log/slog", "net", "math/rand", "math/rand/v2", "crypto/rand", "context", "math/big"}
	impureTime    = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
)

// cgoPackages may import "C": the driver, and the plug-in that packetdrill loads as a shared library.
var cgoPackages = []string{"pmd", "test/packetdrill"}

// unsafePackages may import unsafe, in files named *_unsafe.go: those two to view C memory, and the
// shared-memory ABI, the tables of an XDP program, and calls of the kernel that Go's library does not have.
var unsafePackages = []string{"pmd", "sockshim/shm", "sockshim/notify", "ports/xdp", "test/packetdrill"}

// vagueNames say nothing of what a file or package is for.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "misc"}

type file struct {
	path string // from the root, slashes
	pkg  string // folder
	test bool
	ast  *ast.File
}

// goFiles parses every Go file of the project.
func goFiles(t *testing.T) []file {
	var files []file
	fset := token.NewFileSet()
	walk(t, func(p string) {
		if path.Ext(p) != ".go" || strings.Contains(p, "/testdata/") {
			return
		}
		tree, err := parser.ParseFile(fset, filepath.Join(root, p), nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		if generatorInput(tree) {
			return
		}
		files = append(files, file{p, path.Dir(p), strings.HasSuffix(p, "_test.go"), tree})
	})
	require.NotEmpty(t, files)
	return files
}

// generatorInput reports whether the file is read by a generator and never built.
func generatorInput(f *ast.File) bool {
	return slices.ContainsFunc(f.Comments, func(g *ast.CommentGroup) bool {
		return g.Pos() < f.Package && strings.HasPrefix(g.List[0].Text, "//go:build ignore")
	})
}

// walk calls f for every file of the project that is not built.
func walk(t *testing.T, f func(p string)) {
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(p, root+"/"))
		if d.IsDir() && (rel == ".git" || rel == "bin" || rel == "build") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && rel != ".git" { // a file in a linked work tree
			f(rel)
		}
		return nil
	})
	require.NoError(t, err)
}

// allowed returns what pkg may import, and whether pkg is in the table at all.
func allowed(pkg string) ([]string, bool) {
	if list, ok := imports[pkg]; ok {
		return list, true
	}
	for p := pkg; p != "."; p = path.Dir(p) {
		if list, ok := imports[p+"/..."]; ok {
			return list, true
		}
	}
	return nil, false
}

func importPaths(f file) []string {
	var list []string
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked the literal
		list = append(list, p)
	}
	return list
}

func TestImportGraph(t *testing.T) {
	for _, f := range goFiles(t) {
		list, known := allowed(f.pkg)
		if !known {
			t.Errorf("%s: package %s is not in the table of the import graph", f.path, f.pkg)
		}
		for _, p := range importPaths(f) {
			target, ours := strings.CutPrefix(p, module+"/")
			if !ours || f.test || slices.Contains(list, "...") || slices.Contains(list, target) {
				continue
			}
			t.Errorf("%s: package %s may not import %s", f.path, f.pkg, target)
		}
	}
}

func TestUnsafeAndCgo(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, p := range importPaths(f) {
			switch {
			case p == "C" && !slices.Contains(cgoPackages, f.pkg):
				t.Errorf("%s: cgo is for %v only", f.path, cgoPackages)
			case p == "unsafe" && !(slices.Contains(unsafePackages, f.pkg) && strings.HasSuffix(f.path, "_unsafe.go")):
				t.Errorf("%s: unsafe stands only in *_unsafe.go files of %v", f.path, unsafePackages)
			}
		}
	}
}

// TestPurity keeps clocks, threads, locks, I/O and floating point out of the engine.
func TestPurity(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || !slices.Contains(pure, f.pkg) {
			continue
		}
		for _, p := range importPaths(f) {
			if slices.Contains(impureImports, p) {
				t.Errorf("%s: a pure package may not import %s", f.path, p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
				t.Errorf("%s: a pure package has no goroutine or channel", f.path)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(impureTime, n.Sel.Name) {
					t.Errorf("%s: a pure package has no clock: time.%s", f.path, n.Sel.Name)
				}
			case *ast.Ident:
				if n.Name == "float64" || n.Name == "float32" {
					t.Errorf("%s: a pure package has no floating point", f.path)
				}
			}
			return true
		})
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: no init functions: construct in cmd", f.path)
			}
		}
	}
}

// TestEveryPackageIsExplained demands a package comment of every package.
func TestEveryPackageIsExplained(t *testing.T) {
	explained := map[string]bool{}
	for _, f := range goFiles(t) {
		explained[f.pkg] = explained[f.pkg] || f.ast.Doc != nil
	}
	for pkg, ok := range explained {
		if !ok {
			t.Errorf("%s: no package comment", pkg)
		}
	}
}

func TestNames(t *testing.T) {
	walk(t, func(p string) {
		stem, _, _ := strings.Cut(path.Base(p), ".")
		stem = strings.TrimSuffix(stem, "_test")
		if slices.Contains(vagueNames, stem) || slices.Contains(vagueNames, path.Base(path.Dir(p))) {
			t.Errorf("%s: name it by its concept", p)
		}
	})
}

// TestNoBuildMachinePaths finds paths that exist only where somebody happened to build.
func TestNoBuildMachinePaths(t *testing.T) {
	foreign := regexp.MustCompile(`(^|[^\w.$})-])/(work|root|home/\w+|Users)/`)
	walk(t, func(p string) {
		text, err := os.ReadFile(filepath.Join(root, p))
		require.NoError(t, err)
		if strings.ContainsRune(string(text[:min(len(text), 8000)]), 0) {
			return // binary
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := foreign.FindString(line); m != "" && path.Base(p) != "architecture_test.go" {
				t.Errorf("%s:%d: a path of some machine: %s", p, i+1, strings.TrimSpace(line))
			}
		}
	})
}
