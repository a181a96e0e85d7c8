package faulttest_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// TestMain lets the test's binary be the program that a test kills.
func TestMain(m *testing.M) {
	if text := os.Getenv(asChild); text != "" {
		os.Exit(child(text))
	}
	code := m.Run()
	if err := writeReport(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Without a fault everything that is sent becomes the records that it means.
func TestNoFault(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 4, Messages: 40, Poison: 13, Merges: true}, faulttest.Scale{Senders: 200, Messages: 1000, Poison: 100, Merges: true}), func(w *world) {
		w.start()
		w.drive(nil)
		w.holds()
	})
}
