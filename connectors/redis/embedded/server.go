// Package embedded runs a Redis server within the process, in memory, for a
// machine without one. Losing it costs nothing but speed.
package embedded

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// A Server is one running server.
type Server struct {
	mini *miniredis.Miniredis
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// Start opens a port of the system's choice on loopback. Keys expire at the
// next full step; above limit keys (0: 100,000) all are forgotten, so that
// memory is bounded.
func Start(limit int) (*Server, error) {
	if limit <= 0 {
		limit = 100_000
	}
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	s := &Server{mini: m, stop: make(chan struct{}), done: make(chan struct{})}
	go s.tick(limit)
	return s, nil
}

// tick moves the server's clock, which does not run by itself.
func (s *Server) tick(limit int) {
	defer close(s.done)
	const step = 10 * time.Second // each walks over every key
	t := time.NewTicker(step)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.mini.FastForward(step)
			if len(s.mini.Keys()) > limit {
				s.mini.FlushAll()
			}
		case <-s.stop:
			return
		}
	}
}

// Addr is the server's address.
func (s *Server) Addr() string { return s.mini.Addr() }

// Close ends the server.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		<-s.done
		s.mini.Close()
	})
}
