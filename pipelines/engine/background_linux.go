package engine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// background lets the calling goroutine, for the rest of its life, have what of
// the processors intake leaves: a sender's message is taken and answered first,
// while mapping and folding have enough to do for every processor. The thread
// ends with the goroutine, because its priority cannot be raised again.
func background() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), backgroundNice) // without it only answers are slower
}

const backgroundNice = 10
