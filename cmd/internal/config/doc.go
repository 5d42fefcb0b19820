// Package config is toed's configuration: its shape, defaults, reading and checking.
//
// A file is YAML, read through viper over the values of [Default]. Reading is strict: a key that
// the shape does not have, a value of the wrong type or out of range is a [Problem], which names
// the file, line and key, says what is wrong and how to mend it. All problems of a file are
// reported together, one line each. Nothing outside the file is looked at: whether an interface
// exists or memory is to be had is found out by who opens it.
package config
