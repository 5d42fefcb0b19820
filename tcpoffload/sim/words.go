package sim

import (
	"fmt"
	"reflect"
	"strings"

	"opentoe/tcpoffload/vtime"
)

// brief formats the fields of struct v that are not zero.
func brief(v any) string {
	var b strings.Builder
	briefTo(&b, reflect.ValueOf(v))
	if b.Len() == 0 {
		return "nothing special"
	}
	return b.String()[1:]
}

func briefTo(b *strings.Builder, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() {
			continue
		}
		name := v.Type().Field(i).Name
		if f.Kind() == reflect.Struct {
			fmt.Fprintf(b, " %s{", name)
			var in strings.Builder
			briefTo(&in, f)
			fmt.Fprintf(b, "%s}", in.String()[1:])
			continue
		}
		switch f.Type() {
		case reflect.TypeFor[vtime.Duration]():
			fmt.Fprintf(b, " %s:%v", name, vtime.Duration(f.Int()))
		case reflect.TypeFor[kind]():
			fmt.Fprintf(b, " %v", kind(f.Uint()))
		default:
			fmt.Fprintf(b, " %s:%v", name, f)
		}
	}
}
