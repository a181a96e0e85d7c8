package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dropFilePages gives back the pages of the program's own file that are in
// memory: many hold what only the start reads. What is wanted again comes from
// the page cache. Only mappings that cannot be written, and of which no page
// was, are given back: the pages of others are no longer those of the file. It is
// no error where the system does not do it.
func dropFilePages() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	smaps, err := os.Open("/proc/self/smaps") // proc(5)
	if err != nil {
		return
	}
	defer smaps.Close()
	var start, end uint64 // of the mapping that the lines are about; 0: not one of these
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 3 && f[0] == "Anonymous:":
			if end > 0 && f[1] == "0" {
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
			}
		case len(f) > 1 && !strings.HasSuffix(f[0], ":"): // address, permissions, offset, device, inode, path
			start, end = 0, 0
			if len(f) != 6 || f[5] != self || strings.Contains(f[1], "w") {
				continue
			}
			from, to, _ := strings.Cut(f[0], "-")
			if start, err = strconv.ParseUint(from, 16, 64); err != nil {
				return
			}
			if end, err = strconv.ParseUint(to, 16, 64); err != nil {
				return
			}
		}
	}
}
