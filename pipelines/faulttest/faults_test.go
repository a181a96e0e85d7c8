package faulttest_test

import (
	"os"
	"testing"

	"github.com/liaison-health/liaison/connectors/redis"
	"github.com/liaison-health/liaison/pipelines/faulttest"
)

// TestMain lets the test's binary be the program that a test kills.
func TestMain(m *testing.M) {
	if text := os.Getenv(asChild); text != "" {
		os.Exit(child(text))
	}
	redis.Quiet()
	os.Exit(m.Run())
}

// Without a fault everything that is sent becomes the records that it means.
func TestNoFault(t *testing.T) {
	each(t, scale(faulttest.Scale{Senders: 4, Messages: 40, Poison: 13, Merges: true}, share(200, 100, faulttest.Scale{Poison: 100, Merges: true})), func(w *world) {
		w.measured()
		w.start()
		w.drive(nil)
		w.holds()
	})
}
