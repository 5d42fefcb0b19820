// Package launch prepares a program to run on the TOE: it finds the preload library, asks whether
// toed answers, and looks into the program's file to see whether a preload library can reach it.
package launch
