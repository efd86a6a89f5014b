//go:build !unix

package main

import (
	"errors"
	"time"
)

type ran struct {
	failed   bool
	timedOut bool
	output   []byte
	took     time.Duration
}

func start(string, string, []string, []string, time.Duration, int) (ran, error) {
	return ran{}, errors.New("mutants need a Unix system")
}
